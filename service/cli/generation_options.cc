#include "service/cli/generation_options.h"

#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "service/rpc/convert.h"

namespace blazon::service::cli {
namespace {

absl::Status AddBias(const std::string& text, v1::GenerationOptions& options) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  int32_t id = 0;
  double bias = 0;
  if (!absl::SimpleAtoi(parts.first, &id) || !absl::SimpleAtod(parts.second, &bias)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--logit-bias \"", text, "\" is not of the form ID=BIAS, such as 198=-100"));
  }
  (*options.mutable_logit_bias())[id] = bias;
  return absl::OkStatus();
}

}  // namespace

void AddGenerationOptions(CLI::App& command, GenerationFlags& flags) {
  CLI::Option_group& group = *command.add_option_group("Generation");
  group.add_option("--max-new-tokens", flags.max_new_tokens, "Generate at most so many tokens");
  group.add_option("--temperature", flags.temperature,
                   "0: always the most probable token; 0.01 to 10: sample, higher is wilder (default 0)");
  group.add_option("--top-k", flags.top_k, "Sample among the k most probable tokens; 0: all (default 0)");
  group.add_option("--top-p", flags.top_p,
                   "Sample among the most probable tokens that make up this probability (default 1)");
  group.add_option("--min-p", flags.min_p,
                   "Drop tokens less probable than this times the most probable one (default 0)");
  group.add_option("--typical-p", flags.typical_p,
                   "Sample among the tokens of typical surprise that make up this probability (default 1)");
  group
      .add_option("--logit-bias", flags.logit_bias,
                  "Add to a token's logit, -100 to 100, such as 198=-100; may be given up to 1,024 times")
      ->type_name("ID=BIAS")
      ->allow_extra_args(false);
  group.add_option("--repetition-penalty", flags.repetition_penalty,
                   "Divide the score of tokens already seen, 0.1 to 10 (default 1)");
  group.add_option("--presence-penalty", flags.presence_penalty,
                   "Subtract from the score of tokens already generated, -2 to 2 (default 0)");
  group.add_option("--frequency-penalty", flags.frequency_penalty, "The same, for each time, -2 to 2 (default 0)");
  group.add_option("--no-repeat-ngram-size", flags.no_repeat_ngram_size,
                   "Never generate a run of so many tokens twice; 0: off (default 0)");
  group.add_option("--stop", flags.stop, "Stop before this string; may be given up to 16 times")
      ->type_name("TEXT")
      ->allow_extra_args(false);  // what follows its value is the prompt
  group.add_option("--stop-token-ids", flags.stop_token_ids, "Stop at this token; may be given up to 64 times")
      ->allow_extra_args(false);
  group.add_flag("--ignore-eos", flags.ignore_eos, "Go on past the end-of-text token");
  group.add_flag("--allow-repetition", flags.allow_repetition, "Go on when the text repeats itself without end");
  group.add_option("--num-beams", flags.num_beams,
                   "Search for the most probable text with so many beams, at temperature 0; 1: no search (default 1)");
  group.add_option("--length-penalty", flags.length_penalty,
                   "Beam search divides a summed log-probability by length to this power, -10 to 10 (default 1)");
  group
      .add_option("--early-stopping", flags.early_stopping,
                  "End a beam search at num-beams finished texts: true; when none can become better: never; or by a "
                  "guess at that: false (default false)")
      ->check(CLI::IsMember({"false", "true", "never"}));
  group.add_option("--num-beam-groups", flags.num_beam_groups,
                   "Split the beams into groups that avoid each other's tokens (default 1)");
  group.add_option("--diversity-penalty", flags.diversity_penalty,
                   "What a token loses for each beam of an earlier group that took it, 0 to 100 (default 0)");
  group.add_flag("--logprobs", flags.logprobs, "With --json, report each token's log-probability");
  group.add_option("--top-logprobs", flags.top_logprobs,
                   "With --json, report each token's log-probability and the n best, 0 to 20");
}

void AddSequenceOptions(CLI::App& command, GenerationFlags& flags) {
  CLI::Option_group& group = *command.add_option_group("Several texts, and the prompt");
  group.add_option("--num-sequences", flags.num_sequences,
                   "Give so many samples, or of a beam search so many best texts, 1 to 64 (default 1)");
  group.add_flag("--echo", flags.echo,
                 "Give the prompt too, as the model read it: before the text, or with --json apart");
  group
      .add_flag(
          "--explain{8}", flags.explain,
          "Show at every step what each sampling rule makes of the 8 most probable tokens; --explain=N: of N, 1 to 20")
      ->type_name("N");
  group.add_option("--prompt-logprobs", flags.prompt_logprobs,
                   "With --json, report the log-probability of each token of the prompt and the n best, 0 to 20");
}

void AddReasoningOption(CLI::App& command, GenerationFlags& flags) {
  command
      .add_option(
          "--reasoning", flags.reasoning,
          "What becomes of <think>...</think> before the answer: show, hide, or only, which leaves the answer out")
      ->check(CLI::IsMember({"show", "hide", "only"}));
}

void ReasoningPrinter::Reasoning(std::string_view text) {
  if (mode_ == "hide") return;
  if (mode_ != "only" && !std::exchange(open_, true)) std::cout << "<think>\n";
  std::cout << text << std::flush;
}

void ReasoningPrinter::Answer(std::string_view text) {
  if (mode_ == "only") return;
  if (std::exchange(open_, false)) std::cout << "\n</think>\n\n";
  std::cout << text << std::flush;
}

absl::StatusOr<v1::GenerationOptions> ToOptions(const GenerationFlags& flags, const Context& context) {
  v1::GenerationOptions options;
  if (flags.max_new_tokens) options.set_max_new_tokens(*flags.max_new_tokens);
  if (flags.temperature) options.set_temperature(*flags.temperature);
  if (flags.top_k) options.set_top_k(*flags.top_k);
  if (flags.top_p) options.set_top_p(*flags.top_p);
  if (flags.min_p) options.set_min_p(*flags.min_p);
  if (flags.repetition_penalty) options.set_repetition_penalty(*flags.repetition_penalty);
  if (flags.presence_penalty) options.set_presence_penalty(*flags.presence_penalty);
  if (flags.frequency_penalty) options.set_frequency_penalty(*flags.frequency_penalty);
  if (flags.no_repeat_ngram_size) options.set_no_repeat_ngram_size(*flags.no_repeat_ngram_size);
  if (flags.typical_p) options.set_typical_p(*flags.typical_p);
  for (const std::string& bias : flags.logit_bias) {
    if (absl::Status status = AddBias(bias, options); !status.ok()) return status;
  }
  if (flags.num_sequences) options.set_num_sequences(*flags.num_sequences);
  if (flags.num_beams) options.set_num_beams(*flags.num_beams);
  if (flags.length_penalty) options.set_length_penalty(*flags.length_penalty);
  if (!flags.early_stopping.empty()) {
    options.set_early_stopping(flags.early_stopping == "true"    ? v1::EARLY_STOPPING_FIRST
                               : flags.early_stopping == "never" ? v1::EARLY_STOPPING_NEVER
                                                                 : v1::EARLY_STOPPING_HEURISTIC);
  }
  if (flags.num_beam_groups) options.set_num_beam_groups(*flags.num_beam_groups);
  if (flags.diversity_penalty) options.set_diversity_penalty(*flags.diversity_penalty);
  if (flags.logprobs) options.set_logprobs(true);
  if (flags.top_logprobs) options.set_top_logprobs(*flags.top_logprobs);
  if (flags.prompt_logprobs) options.set_prompt_logprobs(*flags.prompt_logprobs);
  if (flags.echo) options.set_echo(true);
  if (flags.explain) options.set_explain(*flags.explain);
  if (flags.allow_repetition) options.set_allow_repetition(true);
  if (flags.ignore_eos) options.set_ignore_eos(true);
  if (!flags.reasoning.empty())
    options.set_reasoning(flags.reasoning == "hide" ? v1::REASONING_MODE_HIDDEN : v1::REASONING_MODE_SEPARATE);
  if (context.seed) options.set_seed(*context.seed);
  if (const std::string adapter = context.ServerAdapter(); !adapter.empty()) options.set_adapter(adapter);
  options.mutable_stop()->Add(flags.stop.begin(), flags.stop.end());
  options.mutable_stop_token_ids()->Add(flags.stop_token_ids.begin(), flags.stop_token_ids.end());
  absl::StatusOr<language::GenerationOptions> checked = rpc::FromProto(options, language::GenerationOptions{});
  if (!checked.ok()) return checked.status();
  return options;
}

}  // namespace blazon::service::cli
