#include "language/tokenizer/byte_pair_trainer.h"

#include <algorithm>
#include <queue>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "language/tokenizer/unicode.h"
#include "language/tokenizer/vocabulary.h"

namespace blazon::language {
namespace {

using Pair = std::pair<TokenId, TokenId>;

struct Candidate {
  Pair pair;
  int64_t count;
  std::vector<uint32_t> words;  // where it was seen

  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

struct Change {
  Pair pair;
  int64_t by;
};

// Joins every `pair` of `word`, from the left; appends what that does to the numbers of its neighbours' pairs.
void JoinIn(std::vector<TokenId>* word, const Pair& pair, TokenId joined, std::vector<Change>* changes) {
  std::vector<TokenId>& ids = *word;
  size_t end = 0;  // of what is written
  for (size_t at = 0; at < ids.size(); ++at) {
    if (ids[at] != pair.first || at + 1 == ids.size() || ids[at + 1] != pair.second) {
      ids[end++] = ids[at];
      continue;
    }
    if (end > 0) {
      changes->push_back({{ids[end - 1], pair.first}, -1});
      changes->push_back({{ids[end - 1], joined}, 1});
    }
    if (at + 2 < ids.size()) {
      changes->push_back({{pair.second, ids[at + 2]}, -1});
      changes->push_back({{joined, ids[at + 2]}, 1});
    }
    ids[end++] = joined;
    ++at;
  }
  ids.resize(end);
}

class MergeTrainer {
 public:
  MergeTrainer(absl::Span<const CountedWord> words, std::vector<std::string> tokens) : tokens_(std::move(tokens)) {
    for (size_t id = 0; id < tokens_.size(); ++id) ids_.try_emplace(tokens_[id], static_cast<TokenId>(id));
    for (const CountedWord& word : words) {
      std::vector<TokenId>& ids = words_.emplace_back();
      counts_.push_back(word.count);
      for (size_t at = 0; at < word.text.size(); at += CharacterLength(word.text[at])) {
        const auto found = ids_.find(std::string_view(word.text).substr(at, CharacterLength(word.text[at])));
        if (found != ids_.end()) ids.push_back(found->second);
      }
      for (size_t i = 0; i + 1 < ids.size(); ++i)
        Count({ids[i], ids[i + 1]}, word.count, static_cast<uint32_t>(words_.size() - 1));
    }
    Enqueue();
  }

  TrainedMerges Train(int64_t vocabulary_size, int64_t min_frequency) {
    TrainedMerges result;
    std::vector<Change> changes;
    while (static_cast<int64_t>(tokens_.size()) < vocabulary_size && !queue_.empty()) {
      Candidate best = queue_.top();
      queue_.pop();
      if (const int64_t count = pair_counts_[best.pair]; count != best.count) {  // it lost some to other merges
        best.count = count;
        queue_.push(std::move(best));
        continue;
      }
      if (best.count < std::max<int64_t>(min_frequency, 1)) break;
      std::string text = tokens_[best.pair.first] + tokens_[best.pair.second];
      const auto [known, is_new] = ids_.try_emplace(text, static_cast<TokenId>(tokens_.size()));
      const TokenId joined = known->second;
      result.merges.emplace_back(tokens_[best.pair.first], tokens_[best.pair.second]);
      if (is_new) tokens_.push_back(std::move(text));
      for (const uint32_t word : best.words) {
        changes.clear();
        JoinIn(&words_[word], best.pair, joined, &changes);
        for (const Change& change : changes) {
          if (change.by > 0) {
            Count(change.pair, counts_[word], word);
          } else {
            pair_counts_[change.pair] -= counts_[word];
          }
        }
      }
      Enqueue();
    }
    result.tokens = std::move(tokens_);
    return result;
  }

 private:
  void Count(const Pair& pair, int64_t count, uint32_t word) {
    pair_counts_[pair] += count;
    std::vector<uint32_t>& words = seen_[pair];
    if (words.empty() || words.back() != word) words.push_back(word);  // words come one after another
  }
  // What was counted since the last time.
  void Enqueue() {
    for (auto& [pair, words] : seen_) {
      if (const int64_t count = pair_counts_[pair]; count > 0) queue_.push({pair, count, std::move(words)});
    }
    seen_.clear();
  }

  std::vector<std::string> tokens_;                                           // by id
  absl::flat_hash_map<std::string, TokenId, TextHash, std::equal_to<>> ids_;  // by token
  std::vector<std::vector<TokenId>> words_;
  std::vector<int64_t> counts_;  // by word
  absl::flat_hash_map<Pair, int64_t> pair_counts_;
  absl::flat_hash_map<Pair, std::vector<uint32_t>> seen_;
  std::priority_queue<Candidate> queue_;
};

}  // namespace

TrainedMerges TrainMerges(absl::Span<const CountedWord> words, std::vector<std::string> tokens, int64_t vocabulary_size,
                          int64_t min_frequency) {
  return MergeTrainer(words, std::move(tokens)).Train(vocabulary_size, min_frequency);
}

}  // namespace blazon::language
