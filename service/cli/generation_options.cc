#include "service/cli/generation_options.h"

#include "service/rpc/convert.h"

namespace blazon::service::cli {

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
  group.add_option("--top-logprobs", flags.top_logprobs,
                   "With --json, report each token's log-probability and the n best, 0 to 20");
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
  if (flags.top_logprobs) options.set_top_logprobs(*flags.top_logprobs);
  if (flags.ignore_eos) options.set_ignore_eos(true);
  if (context.seed) options.set_seed(*context.seed);
  options.mutable_stop()->Add(flags.stop.begin(), flags.stop.end());
  options.mutable_stop_token_ids()->Add(flags.stop_token_ids.begin(), flags.stop_token_ids.end());
  absl::StatusOr<language::GenerationOptions> checked = rpc::FromProto(options, language::GenerationOptions{});
  if (!checked.ok()) return checked.status();
  return options;
}

}  // namespace blazon::service::cli
