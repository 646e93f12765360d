// blazon score: how probable a completion of a prompt is.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/input.h"

namespace blazon::service::cli {
namespace {

struct ScoreFlags {
  std::string prompt, completion;
  std::vector<std::string> images;
  bool token_ids = false;
};

int RunScore(const ScoreFlags& flags, Context& context) {
  if (flags.prompt == "-" && flags.completion == "-") {
    return Fail(absl::InvalidArgumentError("only one of --prompt and --completion can come from standard input"),
                kWrongUsage);
  }
  absl::StatusOr<std::string> prompt = TextOrInput(flags.prompt);
  if (!prompt.ok()) return Fail(prompt.status());
  absl::StatusOr<std::string> completion = TextOrInput(flags.completion);
  if (!completion.ok()) return Fail(completion.status());
  v1::ScoreRequest request;
  if (flags.token_ids && !flags.images.empty()) {
    return Fail(absl::InvalidArgumentError("--token-ids and --image do not go together; give the texts in words"),
                kWrongUsage);
  }
  if (flags.token_ids) {
    if (!prompt->empty()) {
      absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds(*prompt);
      if (!ids.ok()) return Fail(ids.status(), kWrongUsage);
      request.mutable_prompt_token_ids()->Add(ids->begin(), ids->end());
    }
    absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds(*completion);
    if (!ids.ok()) return Fail(ids.status(), kWrongUsage);
    request.mutable_completion_token_ids()->Add(ids->begin(), ids->end());
  } else {
    for (const std::string& file : flags.images) {
      absl::StatusOr<std::string> picture = ReadInput(file);
      if (!picture.ok()) return Fail(picture.status());
      request.add_prompt_parts()->mutable_image()->set_data(*std::move(picture));
    }
    if (flags.images.empty()) {
      request.set_prompt(*std::move(prompt));
    } else if (!prompt->empty()) {
      request.add_prompt_parts()->set_text(*std::move(prompt));
    }
    request.set_completion(*std::move(completion));
  }
  if (const std::string adapter = context.ServerAdapter(); !adapter.empty()) request.set_adapter(adapter);
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::ScoreResponse> response = (*backend)->Score(request);
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
    return kDone;
  }
  for (const v1::TokenLogprob& token : response->tokens()) {
    const std::string piece =
        nlohmann::json(token.text()).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::cout << absl::StrFormat("%10.4f  %s\n", token.logprob(), piece);
  }
  std::cout << absl::StrFormat("%10.4f  total of %d tokens, mean %.4f\n", response->logprob(), response->tokens_size(),
                               response->mean_logprob());
  return kDone;
}

}  // namespace

void AddScore(CLI::App& app, Context& context) {
  auto flags = std::make_shared<ScoreFlags>();
  CLI::App* command = app.add_subcommand("score", "Tell how probable a completion of a prompt is");
  command->add_option("--prompt", flags->prompt, "What stands before; - reads standard input")->type_name("TEXT");
  command->add_option("--completion", flags->completion, "What to score; - reads standard input")
      ->type_name("TEXT")
      ->required();
  command
      ->add_option("--image", flags->images, "A picture before the prompt, for a model that sees; may be given again")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command->add_flag("--token-ids", flags->token_ids,
                    "Both are token ids: separated by commas or spaces, or a JSON list");
  command->footer(
      R"(Prints the natural log-probability of each token of the completion, their sum and their mean. The completion is split
into tokens by itself: begin it with a space when a word follows.

Examples:
  blazon score --prompt "The capital of France is" --completion " Paris"
  blazon score --token-ids --prompt "504 3575 282 4649 314" --completion 7042
  blazon score --model ~/models/paligemma-3b-mix-224 --image photo.jpg --prompt "caption en" --completion "a cat"
  blazon score --json --prompt "2 + 2 =" --completion " 4")");
  command->callback([flags, &context] {
    context.names_adapter = true;
    context.run = [flags, &context] { return RunScore(*flags, context); };
  });
}

}  // namespace blazon::service::cli
