// blazon generate: writes on from a prompt, or answers a message.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "service/attention_table.h"
#include "service/checkpoint/durable_file.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/explain.h"
#include "service/cli/generation_options.h"
#include "service/cli/input.h"
#include "service/cli/runs.h"

namespace blazon::service::cli {
namespace {

// What --attention asks for.
struct AttentionFlags {
  std::filesystem::path file;  // empty: nothing
  int64_t layer = -1, head = -1;
};

struct GenerateFlags {
  std::string prompt;
  std::vector<std::string> images;
  bool token_ids = false;
  bool chat = false;
  std::string system;
  RunName run = {.name = "", .runs = "runs"};
  GenerationFlags generation;
  AttentionFlags attention;
};

// Pictures, then the text where there is one.
void AddParts(std::vector<std::string> pictures, std::string text,
              google::protobuf::RepeatedPtrField<v1::Part>& parts) {
  for (std::string& picture : pictures) parts.Add()->mutable_image()->set_data(std::move(picture));
  if (!text.empty() || pictures.empty()) parts.Add()->set_text(std::move(text));
}

void AddTurn(v1::Chat& chat, v1::Role role, std::vector<std::string> pictures, std::string text) {
  v1::Message& message = *chat.add_messages();
  message.set_role(role);
  AddParts(std::move(pictures), std::move(text), *message.mutable_parts());
}

// Several texts, or one behind its prompt.
void PrintTexts(const v1::GenerateResponse& response, const std::string& reasoning) {
  const auto print = [&](const std::string& reasoned, const std::string& text) {
    ReasoningPrinter printer(reasoning);
    std::cout << response.prompt_text();
    if (!reasoned.empty()) printer.Reasoning(reasoned);
    if (!text.empty()) printer.Answer(text);
    std::cout << "\n";
  };
  if (response.sequences_size() <= 1) return print(response.reasoning(), response.text());
  for (int i = 0; i < response.sequences_size(); ++i) {
    const v1::GeneratedSequence& sequence = response.sequences(i);
    std::cout << absl::StrFormat("=== %d of %d, score %.4f\n", i + 1, response.sequences_size(), sequence.score());
    print(sequence.reasoning(), sequence.text());
  }
}

absl::Status CheckAttention(const GenerateFlags& flags, const Context& context) {
  if (flags.attention.file.empty()) {
    if (flags.attention.layer < 0 && flags.attention.head < 0) return absl::OkStatus();
    return absl::InvalidArgumentError("--attention-layer and --attention-head go with --attention FILE");
  }
  if (!context.server.empty()) return absl::InvalidArgumentError("--attention is of this process; leave out --server");
  if (!flags.images.empty()) return absl::InvalidArgumentError("--attention shows texts; leave out --image");
  if (flags.generation.reasoning == "hide")
    return absl::InvalidArgumentError("--attention shows every token; leave out --reasoning hide");
  return absl::OkStatus();
}

// Of the prompt and the first of the texts, which `response` holds as tokens.
absl::Status WriteAttention(const AttentionFlags& flags, const v1::GenerateResponse& response, Context& context) {
  AttentionRequest request;
  request.layer = flags.layer;
  request.head = flags.head;
  request.prompt.assign(response.prompt_token_ids().begin(), response.prompt_token_ids().end());
  if (response.sequences_size() > 0) {
    const auto& ids = response.sequences(0).token_ids();
    request.generated.assign(ids.begin(), ids.end());
  }
  for (const v1::TokenLogprob& token : response.logprobs()) {
    if (response.sequences_size() == 0) request.generated.push_back(token.id());
  }
  absl::StatusOr<ModelStore*> models = context.OpenModels();
  if (!models.ok()) return models.status();
  const absl::StatusOr<AttentionTable> table = ReadAttention(**models, request);
  if (!table.ok()) return table.status();
  const std::string svg = AttentionHeatMap(*table);
  return WriteDurably(flags.file, [&](FileAppender& file) { return file.Append(svg.data(), svg.size()); });
}

int RunGenerate(const GenerateFlags& flags, Context& context) {
  v1::GenerateRequest request;
  absl::StatusOr<v1::GenerationOptions> options = ToOptions(flags.generation, context);
  if (!options.ok()) return Fail(options.status(), kWrongUsage);
  if (absl::Status status = CheckAttention(flags, context); !status.ok()) return Fail(status, kWrongUsage);
  *request.mutable_options() = *std::move(options);
  absl::StatusOr<std::string> prompt = TextOrInput(flags.prompt);
  if (!prompt.ok()) return Fail(prompt.status());
  const bool chat = flags.chat || !flags.system.empty();
  if (flags.token_ids && chat) {
    return Fail(absl::InvalidArgumentError("--token-ids is for a prompt, and --chat and --system for words; give one"),
                kWrongUsage);
  }
  if (flags.token_ids && !flags.images.empty()) {
    return Fail(absl::InvalidArgumentError("--token-ids and --image do not go together; give the prompt in words"),
                kWrongUsage);
  }
  std::vector<std::string> pictures;
  for (const std::string& file : flags.images) {
    absl::StatusOr<std::string> picture = ReadInput(file);
    if (!picture.ok()) return Fail(picture.status());
    pictures.push_back(*std::move(picture));
  }
  if (flags.token_ids) {
    absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds(*prompt);
    if (!ids.ok()) return Fail(ids.status(), kWrongUsage);
    request.mutable_prompt()->mutable_token_ids()->Add(ids->begin(), ids->end());
  } else if (chat) {
    if (!flags.system.empty()) AddTurn(*request.mutable_chat(), v1::ROLE_SYSTEM, {}, flags.system);
    AddTurn(*request.mutable_chat(), v1::ROLE_USER, std::move(pictures), *std::move(prompt));
  } else {
    AddParts(std::move(pictures), *std::move(prompt), *request.mutable_prompt()->mutable_parts());
  }
  if (!flags.run.name.empty()) {
    if (absl::Status status = UseRun(flags.run, context); !status.ok()) return Fail(status);
  }
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  const bool explains = request.options().explain() > 0;
  const bool streams =
      !context.json && request.options().num_sequences() <= 1 && !request.options().echo() && !explains;
  const bool attends = !flags.attention.file.empty(), echoes = request.options().echo(),
             reports = request.options().logprobs() || request.options().has_top_logprobs();
  if (attends) {  // the tokens themselves are needed
    request.mutable_options()->set_echo(true);
    if (!reports) request.mutable_options()->set_logprobs(true);
  }
  ReasoningPrinter printer(flags.generation.reasoning);
  const auto on_text = [&](std::string_view text) {
    if (streams) printer.Answer(text);
  };
  const auto on_reasoning = [&](std::string_view text) {
    if (streams) printer.Reasoning(text);
  };
  absl::StatusOr<v1::GenerateResponse> response = (*backend)->Generate(request, on_text, on_reasoning);
  if (!response.ok()) return Fail(response.status());
  const absl::Status drawn = attends ? WriteAttention(flags.attention, *response, context) : absl::OkStatus();
  if (attends && !echoes) {
    response->clear_prompt_text();
    response->clear_prompt_token_ids();
  }
  if (attends && !reports) {
    response->clear_logprobs();
    for (v1::GeneratedSequence& sequence : *response->mutable_sequences()) sequence.clear_logprobs();
  }
  if (context.json) {
    PrintJson(*response);
  } else if (streams) {
    std::cout << "\n";
  } else {
    if (explains) PrintSteps(*response);
    PrintTexts(*response, flags.generation.reasoning);
  }
  return drawn.ok() ? kDone : Fail(drawn);
}

}  // namespace

void AddGenerate(CLI::App& app, Context& context) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app.add_subcommand("generate", "Write on from a prompt");
  command->add_option("prompt", flags->prompt, "The text to write on from; - reads standard input")->required();
  command->add_option("--image", flags->images, "A picture before the text, for a model that sees; may be given again")
      ->type_name("FILE")
      ->allow_extra_args(false);  // what follows its value is the prompt
  command->add_flag("--token-ids", flags->token_ids,
                    "The prompt is token ids: separated by commas or spaces, or a JSON list");
  command->add_flag("--chat", flags->chat, "Take the text as a message and answer it, with the model's chat template");
  command->add_option("--system", flags->system, "Instructions that stand above the message; implies --chat")
      ->type_name("TEXT");
  command->add_option("--run", flags->run.name, "Write with what 'train finetune' made under this name")
      ->type_name("RUN");
  command->add_option("--runs", flags->run.runs, "The folder that runs lie in")
      ->type_name("RUNS")
      ->capture_default_str();
  CLI::Option_group& attention = *command->add_option_group("Attention");
  attention
      .add_option("--attention", flags->attention.file,
                  "Draw how much each token, of the prompt and of the text, takes from those before it (SVG)")
      ->type_name("FILE");
  attention.add_option("--attention-layer", flags->attention.layer, "Of this layer, from 0 (default: the mean of all)")
      ->check(CLI::NonNegativeNumber);
  attention.add_option("--attention-head", flags->attention.head, "Of this head, from 0 (default: the mean of all)")
      ->check(CLI::NonNegativeNumber);
  AddGenerationOptions(*command, flags->generation);
  AddSequenceOptions(*command, flags->generation);
  AddReasoningOption(*command, flags->generation);
  command->footer(R"(Examples:
  blazon generate "Once upon a time"
  blazon generate --temperature 0.8 --top-p 0.9 --seed 7 "Dear diary,"
  blazon generate --explain --max-new-tokens 5 --temperature 0.8 --top-k 20 --top-p 0.9 "The sea was"
  blazon generate --attention seen.svg --attention-layer 3 --max-new-tokens 8 "The sea was"
  blazon generate --num-beams 4 --num-sequences 2 "The sea was"
  blazon generate --run bard --temperature 0.7 "ROMEO:"
  blazon generate --server 127.0.0.1:50051 --adapter summaries "The minutes of the meeting:"
  blazon generate --token-ids "[504, 3575, 282, 4649, 314]"
  blazon generate --chat "What is the capital of France?"
  blazon generate --model ~/models/SmolVLM-256M-Instruct --chat --image photo.jpg "What animal is this?"
  git log -1 | blazon generate --json --max-new-tokens 32 -)");
  command->callback([flags, &context] {
    context.names_adapter = true;
    context.run = [flags, &context] { return RunGenerate(*flags, context); };
  });
}

}  // namespace blazon::service::cli
