#include "language/generation_options.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace blazon::language {
namespace {

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr int64_t kMaxTopLogprobs = 20;
constexpr int64_t kMaxNgram = 64;
constexpr size_t kMaxBiases = 1024;
constexpr int64_t kMaxWidth = 64;  // sequences or beams of one request

template <typename Value>
absl::Status OutOfRange(absl::string_view field, const Value& value, absl::string_view range) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; it must be ", range));
}

// Written so that NaN is out of every range.
bool Between(double value, double low, double high) { return value >= low && value <= high; }

absl::Status CheckLogprobs(absl::string_view field, int64_t count, int64_t vocabulary_size) {
  const int64_t limit = std::min(kMaxTopLogprobs, vocabulary_size);
  if (count >= -1 && count <= limit) return absl::OkStatus();
  return OutOfRange(field, count, absl::StrCat("-1 (none) or 0 to ", limit));
}

absl::Status CheckLogitBias(const GenerationOptions& options, int64_t vocabulary_size) {
  if (options.logit_bias.size() > kMaxBiases) {
    return absl::InvalidArgumentError(
        absl::StrCat("logit_bias has ", options.logit_bias.size(), " tokens; it may have ", kMaxBiases));
  }
  for (const auto& [id, bias] : options.logit_bias) {
    if (id < 0 || id >= vocabulary_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("logit_bias names token ", id, "; ids are 0 to ", vocabulary_size - 1));
    }
    if (!Between(bias, -100, 100)) return OutOfRange(absl::StrCat("logit_bias[", id, "]"), bias, "-100 to 100");
  }
  return absl::OkStatus();
}

// An option of beam search without beams would be ignored; that is refused.
absl::Status NeedsBeams(absl::string_view field) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is for beam search; set num_beams to 2 or more, or leave it out"));
}

absl::Status CheckExplain(const GenerationOptions& options) {
  if (options.explain < 0 || options.explain > kMaxTopLogprobs)
    return OutOfRange("explain", options.explain, absl::StrCat("0 (off) to ", kMaxTopLogprobs));
  if (options.explain == 0) return absl::OkStatus();
  if (options.width() > 1)
    return absl::InvalidArgumentError("explain is for one text; leave num_sequences and num_beams at 1");
  if (options.max_new_tokens > GenerationOptions::kMaxExplainedTokens) {
    return absl::InvalidArgumentError(absl::StrCat("explain is for at most ", GenerationOptions::kMaxExplainedTokens,
                                                   " tokens, but max_new_tokens is ", options.max_new_tokens,
                                                   "; lower it"));
  }
  return absl::OkStatus();
}

absl::Status CheckSequences(const GenerationOptions& options) {
  if (options.num_sequences < 1 || options.num_sequences > kMaxWidth)
    return OutOfRange("num_sequences", options.num_sequences, absl::StrCat("1 to ", kMaxWidth));
  if (options.num_beams < 1 || options.num_beams > kMaxWidth)
    return OutOfRange("num_beams", options.num_beams, absl::StrCat("1 (no beam search) to ", kMaxWidth));
  if (!Between(options.length_penalty, -10, 10))
    return OutOfRange("length_penalty", options.length_penalty, "-10 to 10 (1: the mean log-probability)");
  if (options.num_beam_groups < 1 || options.num_beam_groups > kMaxWidth)
    return OutOfRange("num_beam_groups", options.num_beam_groups, absl::StrCat("1 (no groups) to ", kMaxWidth));
  if (!Between(options.diversity_penalty, 0, 100))
    return OutOfRange("diversity_penalty", options.diversity_penalty, "0 (off) to 100");

  if (options.num_beams == 1) {
    if (options.length_penalty != 1) return NeedsBeams("length_penalty");
    if (options.early_stopping != EarlyStopping::kHeuristic) return NeedsBeams("early_stopping");
    if (options.num_beam_groups != 1) return NeedsBeams("num_beam_groups");
    if (options.diversity_penalty != 0) return NeedsBeams("diversity_penalty");
    if (options.num_sequences > 1 && options.temperature == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("num_sequences is ", options.num_sequences,
                       " at temperature 0, which gives one text only; raise the temperature, or set num_beams"));
    }
    return absl::OkStatus();
  }
  if (options.temperature != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_beams is ", options.num_beams, " at temperature ", options.temperature,
                     "; beam search does not sample: set the temperature to 0, or num_beams to 1"));
  }
  if (options.num_sequences > options.num_beams) {
    return absl::InvalidArgumentError(absl::StrCat("num_sequences is ", options.num_sequences, "; it must be 1 to ",
                                                   options.num_beams, ", the num_beams"));
  }
  if (options.num_beams % options.num_beam_groups != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_beam_groups is ", options.num_beam_groups,
                                                   "; it must divide num_beams, ", options.num_beams));
  }
  if (options.num_beam_groups > 1 && options.diversity_penalty == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_beam_groups is ", options.num_beam_groups,
                     " without a diversity_penalty, so all groups would be the same; set one above 0"));
  }
  if (options.num_beam_groups == 1 && options.diversity_penalty != 0) {
    return absl::InvalidArgumentError(
        "diversity_penalty is for groups of beams; set num_beam_groups to 2 or more, or leave it out");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const GenerationOptions& options, int64_t vocabulary_size, int64_t context_length) {
  if (options.max_new_tokens < 1 || options.max_new_tokens > context_length) {
    return OutOfRange("max_new_tokens", options.max_new_tokens,
                      absl::StrCat("1 to ", context_length, ", the model's context"));
  }
  if (options.temperature != 0 && !Between(options.temperature, 0.01, 10)) {
    return OutOfRange("temperature", options.temperature, "0 (greedy) or 0.01 to 10");
  }
  if (options.top_k < 0 || options.top_k > vocabulary_size) {
    return OutOfRange("top_k", options.top_k,
                      absl::StrCat("0 (off) or 1 to ", vocabulary_size, ", the model's vocabulary"));
  }
  if (!(options.top_p > 0 && options.top_p <= 1))
    return OutOfRange("top_p", options.top_p, "above 0 and at most 1 (off)");
  if (!(options.min_p >= 0 && options.min_p < 1))
    return OutOfRange("min_p", options.min_p, "at least 0 (off) and below 1");
  if (!(options.typical_p > 0 && options.typical_p <= 1))
    return OutOfRange("typical_p", options.typical_p, "above 0 and at most 1 (off)");
  if (absl::Status status = CheckLogitBias(options, vocabulary_size); !status.ok()) return status;
  if (!Between(options.repetition_penalty, 0.1, 10)) {
    return OutOfRange("repetition_penalty", options.repetition_penalty, "0.1 to 10 (1: off)");
  }
  if (!Between(options.presence_penalty, -2, 2))
    return OutOfRange("presence_penalty", options.presence_penalty, "-2 to 2 (0: off)");
  if (!Between(options.frequency_penalty, -2, 2))
    return OutOfRange("frequency_penalty", options.frequency_penalty, "-2 to 2 (0: off)");
  if (options.no_repeat_ngram_size < 0 || options.no_repeat_ngram_size > kMaxNgram) {
    return OutOfRange("no_repeat_ngram_size", options.no_repeat_ngram_size, absl::StrCat("0 (off) to ", kMaxNgram));
  }
  if (options.stop.size() > kMaxStops) {
    return absl::InvalidArgumentError(
        absl::StrCat("stop has ", options.stop.size(), " strings; it may have ", kMaxStops));
  }
  for (size_t i = 0; i < options.stop.size(); ++i) {
    if (options.stop[i].empty() || options.stop[i].size() > kMaxStopBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("stop[", i, "] has ", options.stop[i].size(), " bytes; it must have 1 to ", kMaxStopBytes));
    }
  }
  for (size_t i = 0; i < options.stop_token_ids.size(); ++i) {
    if (options.stop_token_ids[i] < 0 || options.stop_token_ids[i] >= vocabulary_size) {
      return OutOfRange(absl::StrCat("stop_token_ids[", i, "]"), options.stop_token_ids[i],
                        absl::StrCat("0 to ", vocabulary_size - 1));
    }
  }
  if (absl::Status status = CheckLogprobs("top_logprobs", options.top_logprobs, vocabulary_size); !status.ok())
    return status;
  if (absl::Status status = CheckLogprobs("prompt_logprobs", options.prompt_logprobs, vocabulary_size); !status.ok())
    return status;
  if (absl::Status status = CheckExplain(options); !status.ok()) return status;
  return CheckSequences(options);
}

}  // namespace blazon::language
