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

template <typename Value>
absl::Status OutOfRange(absl::string_view field, const Value& value, absl::string_view range) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; it must be ", range));
}

// Written so that NaN is out of every range.
bool Between(double value, double low, double high) { return value >= low && value <= high; }

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
  if (options.top_logprobs < -1 || options.top_logprobs > std::min(kMaxTopLogprobs, vocabulary_size)) {
    return OutOfRange("top_logprobs", options.top_logprobs,
                      absl::StrCat("-1 (none) or 0 to ", std::min(kMaxTopLogprobs, vocabulary_size)));
  }
  return absl::OkStatus();
}

}  // namespace blazon::language
