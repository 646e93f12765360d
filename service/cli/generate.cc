// blazon generate: writes on from a prompt, or answers a message.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/generation_options.h"
#include "service/cli/input.h"

namespace blazon::service::cli {
namespace {

struct GenerateFlags {
  std::string prompt;
  bool chat = false;
  std::string system;
  GenerationFlags generation;
};

void AddTurn(v1::Chat& chat, v1::Role role, std::string text) {
  v1::Message& message = *chat.add_messages();
  message.set_role(role);
  message.add_parts()->set_text(std::move(text));
}

int RunGenerate(const GenerateFlags& flags, Context& context) {
  v1::GenerateRequest request;
  absl::StatusOr<v1::GenerationOptions> options = ToOptions(flags.generation, context);
  if (!options.ok()) return Fail(options.status(), kWrongUsage);
  *request.mutable_options() = *std::move(options);
  absl::StatusOr<std::string> prompt = TextOrInput(flags.prompt);
  if (!prompt.ok()) return Fail(prompt.status());
  if (flags.chat || !flags.system.empty()) {
    if (!flags.system.empty()) AddTurn(*request.mutable_chat(), v1::ROLE_SYSTEM, flags.system);
    AddTurn(*request.mutable_chat(), v1::ROLE_USER, *std::move(prompt));
  } else {
    request.mutable_prompt()->add_parts()->set_text(*std::move(prompt));
  }
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::GenerateResponse> response = (*backend)->Generate(request, [&](std::string_view text) {
    if (!context.json) std::cout << text << std::flush;
  });
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
  } else {
    std::cout << "\n";
  }
  return kDone;
}

}  // namespace

void AddGenerate(CLI::App& app, Context& context) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app.add_subcommand("generate", "Write on from a prompt");
  command->add_option("prompt", flags->prompt, "The text to write on from; - reads standard input")->required();
  command->add_flag("--chat", flags->chat, "Take the text as a message and answer it, with the model's chat template");
  command->add_option("--system", flags->system, "Instructions that stand above the message; implies --chat")
      ->type_name("TEXT");
  AddGenerationOptions(*command, flags->generation);
  command->footer(R"(Examples:
  blazon generate "Once upon a time"
  blazon generate --temperature 0.8 --top-p 0.9 --seed 7 "Dear diary,"
  blazon generate --chat "What is the capital of France?"
  git log -1 | blazon generate --json --max-new-tokens 32 -)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunGenerate(*flags, context); }; });
}

}  // namespace blazon::service::cli
