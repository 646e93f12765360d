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

void LogitsProcessor::Process(std::vector<float>& scores, const std::function<void(const char* rule)>& after) const {
  const auto applied = [&](const char* rule) {
    if (after) after(rule);
  };
  if (!bias_.empty()) {
    for (const auto& [id, bias] : bias_) scores[id] += bias;
    applied("logit_bias");
  }
  if (repetition_penalty_ != 1) {
    PenaliseRepetition(scores);
    applied("repetition_penalty");
  }
  if (presence_penalty_ != 0) {
    for (const auto& [id, count] : output_count_) scores[id] -= static_cast<float>(presence_penalty_);
    applied("presence_penalty");
  }
  if (frequency_penalty_ != 0) {
    for (const auto& [id, count] : output_count_)
      scores[id] -= static_cast<float>(frequency_penalty_ * static_cast<double>(count));
    applied("frequency_penalty");
  }
  if (no_repeat_ngram_size_ > 0) {
    BanRepeatedNgrams(scores);
    applied("no_repeat_ngram_size");
  }
}

void LogitsProcessor::Push(TokenId id) {
  history_.push_back(id);
  ++output_count_[id];
}

void LogitsProcessor::PenaliseRepetition(std::vector<float>& scores) const {
  const float penalty = static_cast<float>(repetition_penalty_);
  for (const TokenId id : std::unordered_set<TokenId>(history_.begin(), history_.end())) {
    if (id >= 0 && id < static_cast<TokenId>(scores.size()))
      scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
  }
}

void LogitsProcessor::BanRepeatedNgrams(std::vector<float>& scores) const {
  const int64_t n = no_repeat_ngram_size_, length = static_cast<int64_t>(history_.size());
  if (length < n) return;
  const auto last = history_.end() - (n - 1);  // what the next token would complete
  for (auto begin = history_.begin(); begin + n <= history_.end(); ++begin) {
    const TokenId next = *(begin + n - 1);
    if (next >= 0 && std::equal(begin, begin + n - 1, last)) scores[next] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace blazon::language
