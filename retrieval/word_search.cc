#include "retrieval/word_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "retrieval/word_analyzer.h"

namespace blazon::retrieval {
namespace {

constexpr int64_t kWindow = 2048;  // rows: their scores fit the nearest cache
constexpr size_t kRememberedTerms = 1 << 16;
// Allowed rows are looked up one by one when this many times as many postings would be read otherwise.
constexpr int64_t kLookupCost = 32;
// Bounds are sums of rounded numbers.
constexpr double kSlack = 1 + 1e-6;

bool IsSet(const std::vector<uint8_t>& bits, int64_t row) {
  return bits[static_cast<size_t>(row / 8)] >> (row % 8) & 1;
}

// Goes forward through the postings of one term in one index.
class Cursor {
 public:
  Cursor(const WordIndex& index, WordIndex::Postings postings, double weight, double bound_scale)
      : index_(index), postings_(postings), blocks_(postings.blocks()), weight_(weight), scale_(weight * bound_scale) {}

  double weight() const { return weight_; }
  int64_t count() const { return postings_.count; }

  // The most that a row in [begin, end) can get of this term; begin must not fall.
  double Bound(int64_t begin, int64_t end) {
    Skip(begin);
    uint16_t most = 0;
    for (int64_t block = block_; block < blocks_; ++block) {
      if (block > block_ && postings_.info(block - 1).last_row + int64_t{1} >= end) break;
      most = std::max(most, postings_.info(block).impact);
    }
    return scale_ * most / 65535.0;
  }

  // Adds what rows in [begin, end) get to scores[row - begin], and marks them; begin must not fall. False: damage.
  bool Sum(int64_t begin, int64_t end, const Bm25& bm25, double* scores, uint64_t* marks) {
    Skip(begin);
    const uint32_t* lengths = index_.lengths().data();
    for (int64_t block = block_; block < blocks_; ++block) {
      if (block > block_ && postings_.info(block - 1).last_row + int64_t{1} >= end) break;
      if (!Load(block)) return false;
      for (int i = 0; i < loaded_.size; ++i) {
        const int64_t row = loaded_.rows[i];
        if (row < begin) continue;
        if (row >= end) break;
        const int64_t place = row - begin;
        scores[place] += weight_ * bm25.Impact(loaded_.frequencies[i], lengths[row]);
        marks[place / 64] |= uint64_t{1} << (place % 64);
      }
    }
    return true;
  }

  // What `row` gets, 0 when it has not the term; rows must not fall. -1: damage.
  double Lookup(int64_t row, const Bm25& bm25) {
    Skip(row);
    if (block_ == blocks_) return 0;
    if (!Load(block_)) return -1;
    const uint32_t *rows = loaded_.rows, *end = rows + loaded_.size;
    const uint32_t* place = std::lower_bound(rows, end, static_cast<uint32_t>(row));
    if (place == end || *place != row) return 0;
    return weight_ * bm25.Impact(loaded_.frequencies[place - rows], index_.lengths()[static_cast<size_t>(row)]);
  }

 private:
  // To the first block that ends at `row` or after: by steps of doubling length, then between the last two.
  void Skip(int64_t row) {
    if (block_ == blocks_ || postings_.info(block_).last_row >= row) return;
    int64_t step = 1;
    while (block_ + step < blocks_ && postings_.info(block_ + step).last_row < row) {
      block_ += step;
      step *= 2;
    }
    int64_t high = std::min(blocks_, block_ + step);  // it ends at `row` or after, or there is none
    for (++block_; block_ < high;) {
      const int64_t middle = (block_ + high) / 2;
      if (postings_.info(middle).last_row < row) {
        block_ = middle + 1;
      } else {
        high = middle;
      }
    }
  }
  bool Load(int64_t block) {
    if (block == loaded_block_) return true;
    loaded_block_ = -1;
    if (!index_.Read(postings_, block, loaded_)) return false;
    loaded_block_ = block;
    return true;
  }

  const WordIndex& index_;
  WordIndex::Postings postings_;
  int64_t blocks_, block_ = 0, loaded_block_ = -1;
  double weight_, scale_;
  WordIndex::Block loaded_;
};

// The best hits so far. Scores are compared as floats: sums of the same numbers in another order are equal then.
class BestHits {
 public:
  explicit BestHits(int64_t count) : count_(static_cast<size_t>(count)) {}
  // A row that cannot get so much need not be looked at.
  double least() const { return least_; }
  void Add(int64_t id, double score) {
    const Hit hit{static_cast<float>(score), id};
    if (heap_.size() == count_) {
      if (!Better(hit, heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end(), Better);
      heap_.back() = hit;
    } else {
      heap_.push_back(hit);
    }
    std::push_heap(heap_.begin(), heap_.end(), Better);
    if (heap_.size() == count_) least_ = heap_.front().score / kSlack;
  }
  std::vector<WordHit> Take() {
    std::sort(heap_.begin(), heap_.end(), Better);
    std::vector<WordHit> hits;
    for (const Hit& hit : heap_) hits.push_back({hit.id, hit.score});
    return hits;
  }

 private:
  struct Hit {
    float score;
    int64_t id;
  };
  static bool Better(const Hit& a, const Hit& b) { return a.score > b.score || (a.score == b.score && a.id < b.id); }
  size_t count_;
  double least_ = 0;
  std::vector<Hit> heap_;  // the worst in front
};

// The search in one part.
class PartSearch {
 public:
  PartSearch(const WordIndex& index, const std::vector<uint8_t>& allowed, const Bm25& bm25, BestHits& best)
      : index_(index), allowed_(allowed), bm25_(bm25), best_(best) {}

  void AddTerm(const WordIndex::Postings& postings, double weight, double bound_scale) {
    cursors_.emplace_back(index_, postings, weight, bound_scale);
    postings_count_ += postings.count;
  }

  absl::Status Run(int64_t allowed_count) {
    if (cursors_.empty() || allowed_count == 0) return absl::OkStatus();
    if (allowed_count * kLookupCost < postings_count_) return LookUpAll();
    for (int64_t begin = 0; begin < index_.size(); begin += kWindow) {
      if (!Window(begin, std::min(index_.size(), begin + kWindow))) return index_.Damaged();
    }
    return absl::OkStatus();
  }

 private:
  absl::Status LookUpAll() {
    for (size_t byte = 0; byte < allowed_.size(); ++byte) {
      for (uint8_t bits = allowed_[byte]; bits; bits &= static_cast<uint8_t>(bits - 1)) {
        const int64_t row = static_cast<int64_t>(byte) * 8 + std::countr_zero(bits);
        double score = 0;
        for (Cursor& cursor : cursors_) {
          const double part = cursor.Lookup(row, bm25_);
          if (part < 0) return index_.Damaged();
          score += part;
        }
        if (score > 0) best_.Add(index_.ids()[static_cast<size_t>(row)], score);
      }
    }
    return absl::OkStatus();
  }

  bool Window(int64_t begin, int64_t end) {
    // Cursors by their bounds in the window, least first, and the sums of the bounds up to each.
    order_.clear();
    for (Cursor& cursor : cursors_) order_.emplace_back(cursor.Bound(begin, end), &cursor);
    std::sort(order_.begin(), order_.end());
    sums_.clear();
    double sum = 0;
    size_t back = 0;  // so many stand back
    for (const auto& [bound, cursor] : order_) {
      sums_.push_back(sum += bound);
      back += sum < best_.least();
    }
    if (back == order_.size() || sum == 0) return true;

    std::fill(scores_, scores_ + (end - begin), 0.0);
    std::fill(marks_, marks_ + kWindow / 64, uint64_t{0});
    for (size_t i = back; i < order_.size(); ++i) {
      if (order_[i].first > 0 && !order_[i].second->Sum(begin, end, bm25_, scores_, marks_)) return false;
    }
    for (int64_t word = 0; word * 64 < end - begin; ++word) {
      for (uint64_t marks = marks_[word]; marks; marks &= marks - 1) {
        const int64_t place = word * 64 + std::countr_zero(marks), row = begin + place;
        if (!IsSet(allowed_, row)) continue;
        double score = scores_[place];
        bool can_reach = true;
        for (size_t i = back; i > 0; --i) {
          can_reach = score + sums_[i - 1] >= best_.least();
          if (!can_reach) break;
          const double part = order_[i - 1].second->Lookup(row, bm25_);
          if (part < 0) return false;
          score += part;
        }
        if (can_reach && score >= best_.least()) best_.Add(index_.ids()[static_cast<size_t>(row)], score);
      }
    }
    return true;
  }

  const WordIndex& index_;
  const std::vector<uint8_t>& allowed_;
  const Bm25& bm25_;
  BestHits& best_;
  std::vector<Cursor> cursors_;
  int64_t postings_count_ = 0;
  std::vector<std::pair<double, Cursor*>> order_;
  std::vector<double> sums_;
  double scores_[kWindow];
  uint64_t marks_[kWindow / 64];
};

}  // namespace

WordQuery AnalyzeQuery(const std::vector<std::string>& words, uint64_t stems) {
  WordQuery query;
  for (uint64_t rest = stems ? stems : 1; rest; rest &= rest - 1) {
    WordAnalyzer analyzer(std::countr_zero(rest));
    size_t word = 0;  // analyzers differ in terms, not in where words are
    for (const std::string& text : words) {
      analyzer.Analyze(text, [&](std::string_view term) {
        if (query.words.size() == word) query.words.emplace_back();
        std::vector<std::string>& terms = query.words[word++];
        if (std::find(terms.begin(), terms.end(), term) == terms.end()) terms.emplace_back(term);
      });
    }
  }
  return query;
}

WordSearch::WordSearch(std::map<int64_t, Part> parts) : parts_(std::move(parts)) {
  int64_t length = 0;
  for (const auto& [number, part] : parts_) {
    live_count_ += part.live_count;
    stems_ |= part.index->stems();
    length += part.live_length;
  }
  if (length > 0) average_length_ = static_cast<double>(length) / static_cast<double>(live_count_);
}

absl::StatusOr<int64_t> WordSearch::Containing(const std::string& term) const {
  int64_t containing = 0;
  bool counted = false;
  for (const auto& [number, part] : parts_) {
    const WordIndex::Postings postings = part.index->Find(term);
    if (part.live_count == part.index->size() || postings.count == 0) {
      containing += postings.count;
      continue;
    }
    if (!counted) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto known = containing_.find(term); known != containing_.end()) return known->second;
      counted = true;
    }
    WordIndex::Block block;
    for (int64_t i = 0; i < postings.blocks(); ++i) {
      if (!part.index->Read(postings, i, block)) return part.index->Damaged();
      for (int j = 0; j < block.size; ++j) containing += IsSet(part.live, block.rows[j]);
    }
  }
  if (counted) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (containing_.size() >= kRememberedTerms) containing_.clear();
    containing_[term] = containing;
  }
  return containing;
}

absl::StatusOr<WordSearch::Weighed> WordSearch::Weigh(const WordQuery& query) const {
  Weighed weighed;
  const auto live = static_cast<double>(live_count_);
  for (size_t word = 0; word < query.words.size(); ++word) {
    int64_t most = 0;
    for (const std::string& term : query.words[word]) {
      const absl::StatusOr<int64_t> found = Containing(term);
      if (!found.ok()) return found.status();
      most = std::max(most, *found);
      const auto containing = static_cast<double>(*found);
      double idf = std::log((live - containing + 0.5) / (containing + 0.5));
      if (idf <= 0) idf = 1e-6;
      weighed.terms.push_back({term, word, *found, idf * (Bm25::kK1 + 1)});
    }
    const auto containing = static_cast<double>(most);
    weighed.rarity.push_back(std::log(1 + (live - containing + 0.5) / (containing + 0.5)));
  }
  return weighed;
}

absl::StatusOr<std::vector<WordHit>> WordSearch::Best(const Weighed& query, int64_t count,
                                                      const absl::flat_hash_map<int64_t, Allowed>* allowed) const {
  // A term that was asked for twice counts twice.
  std::map<std::string, double> weights;
  for (const Term& term : query.terms) {
    if (term.containing > 0) weights[term.term] += term.weight;
  }
  BestHits best(count);
  const Bm25 bm25(average_length_);
  for (const auto& [number, part] : parts_) {
    const Allowed* of_part = nullptr;
    if (allowed) {
      const auto found = allowed->find(number);
      if (found == allowed->end()) continue;
      of_part = &found->second;
    }
    auto search = std::make_unique<PartSearch>(*part.index, of_part ? of_part->bits : part.live, bm25, best);
    // In a collection of longer chunks than a bound was made for, a chunk gets more, at most by the ratio: (f + c + e /
    // a) * a / b <= f + c + e / b for b > a.
    const double bound_scale = std::max(1.0, average_length_ / part.index->average_length()) * kSlack;
    for (const auto& [term, weight] : weights) {
      const WordIndex::Postings postings = part.index->Find(term);
      if (postings.count > 0) search->AddTerm(postings, weight, bound_scale);
    }
    if (absl::Status status = search->Run(of_part ? of_part->count : part.live_count); !status.ok()) return status;
  }
  return best.Take();
}

absl::StatusOr<WordSearch::Match> WordSearch::MatchOf(const Weighed& query, int64_t chunk_id) const {
  Match match;
  const Bm25 bm25(average_length_);
  std::vector<bool> has(query.rarity.size());
  for (const auto& [number, part] : parts_) {
    const int64_t row = part.index->Find(chunk_id);
    if (row < 0 || !IsSet(part.live, row)) continue;
    for (const Term& term : query.terms) {
      if (term.containing == 0) continue;
      Cursor cursor(*part.index, part.index->Find(term.term), term.weight, 1);
      const double score = cursor.Lookup(row, bm25);
      if (score < 0) return part.index->Damaged();
      match.score += score;
      if (score > 0) has[term.word] = true;
    }
  }
  match.score = static_cast<float>(match.score);
  double covered = 0, total = 0;
  for (size_t word = 0; word < has.size(); ++word) {
    total += query.rarity[word];
    if (has[word]) covered += query.rarity[word];
  }
  if (total > 0) match.coverage = covered / total;
  return match;
}

}  // namespace blazon::retrieval
