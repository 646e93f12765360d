#include "language/logits_processor.h"

#include <algorithm>
#include <limits>
#include <unordered_set>

namespace blazon::language {

LogitsProcessor::LogitsProcessor(const GenerationOptions& options, std::vector<TokenId> prompt)
    : repetition_penalty_(options.repetition_penalty),
      presence_penalty_(options.presence_penalty),
      frequency_penalty_(options.frequency_penalty),
      no_repeat_ngram_size_(options.no_repeat_ngram_size),
      history_(std::move(prompt)) {
  for (const auto& [id, bias] : options.logit_bias) bias_.emplace_back(id, static_cast<float>(bias));
}

void LogitsProcessor::Process(std::vector<float>& scores) const {
  for (const auto& [id, bias] : bias_) scores[id] += bias;
  Penalise(scores);
  BanRepeatedNgrams(scores);
}

void LogitsProcessor::Push(TokenId id) {
  history_.push_back(id);
  ++output_count_[id];
}

void LogitsProcessor::Penalise(std::vector<float>& scores) const {
  const auto known = [&](TokenId id) { return id >= 0 && id < static_cast<TokenId>(scores.size()); };
  if (repetition_penalty_ != 1) {
    const float penalty = static_cast<float>(repetition_penalty_);
    for (const TokenId id : std::unordered_set<TokenId>(history_.begin(), history_.end())) {
      if (known(id)) scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
    }
  }
  if (presence_penalty_ != 0 || frequency_penalty_ != 0) {
    for (const auto& [id, count] : output_count_) {
      scores[id] -= static_cast<float>(presence_penalty_ + frequency_penalty_ * static_cast<double>(count));
    }
  }
}

void LogitsProcessor::BanRepeatedNgrams(std::vector<float>& scores) const {
  const int64_t n = no_repeat_ngram_size_, length = static_cast<int64_t>(history_.size());
  if (n == 0 || length < n) return;
  const auto last = history_.end() - (n - 1);  // what the next token would complete
  for (auto begin = history_.begin(); begin + n <= history_.end(); ++begin) {
    const TokenId next = *(begin + n - 1);
    if (next >= 0 && std::equal(begin, begin + n - 1, last)) scores[next] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace blazon::language
