// Ranks chunks by BM25 over the word indexes of a collection's segments.
//
// Scores are those of SQLite's FTS5 with weights 2, 1.5 and 1 for title, headings and text: sum over terms of idf *
// f * (k1 + 1) / (f + k1 * (1 - b + b * length / average length)), idf = ln((N - n + 0.5) / (n + 0.5)), at least 1e-6;
// N, n and the average length are those of the live chunks of all segments, so that a score does not depend on how
// chunks are spread over segments.
//
// Rows are gone through in windows. Within one, terms whose bounds together cannot reach the result stand back, as in
// MaxScore (Turtle and Flood 1995) with bounds of blocks (Ding and Suel 2011; Mallia et al. 2017): the others' postings
// are summed up, and only rows that can still reach it are looked up in the terms that stood back. What is returned
// does not depend on what was passed over.
//
// Thread safety: const.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/word_index.h"

namespace blazon::retrieval {

struct WordHit {
  int64_t chunk_id = 0;
  double score = 0;
};

// What a question asks for: its words, each by the terms that it stands for, in one language or another.
struct WordQuery {
  std::vector<std::vector<std::string>> words;
};
// The words of a text as the chunks of these stems (WordIndexHeader) may have them.
WordQuery AnalyzeQuery(const std::vector<std::string>& words, uint64_t stems);

class WordSearch {
 public:
  struct Part {
    std::shared_ptr<const WordIndex> index;
    std::vector<uint8_t> live;  // one bit a row
    int64_t live_count = 0;
    int64_t live_length = 0;  // sum of the live rows' lengths
  };
  // Rows of one part that a search may return; all of them live.
  struct Allowed {
    std::vector<uint8_t> bits;
    int64_t count = 0;
  };

  explicit WordSearch(std::map<int64_t, Part> parts);  // by segment number

  const std::map<int64_t, Part>& parts() const { return parts_; }
  int64_t live_count() const { return live_count_; }
  // Whose stems its chunks have (WordIndexHeader).
  uint64_t stems() const { return stems_; }

  // A question's terms with their weights in this collection.
  struct Term {
    std::string term;
    size_t word;         // of the question
    int64_t containing;  // live chunks
    double weight;       // idf * (k1 + 1) * how often it was asked for
  };
  struct Weighed {
    std::vector<Term> terms;
    std::vector<double> rarity;  // of each word of the question
  };
  absl::StatusOr<Weighed> Weigh(const WordQuery& query) const;

  // The `count` best chunks that have one of the terms, best first, equal ones by id. allowed: null for all live rows.
  absl::StatusOr<std::vector<WordHit>> Best(const Weighed& query, int64_t count,
                                            const absl::flat_hash_map<int64_t, Allowed>* allowed = nullptr) const;

  // What one chunk has of the question.
  struct Match {
    double score = 0;     // as Best has it
    double coverage = 0;  // share of the question's words that it has, weighted by rarity
  };
  absl::StatusOr<Match> MatchOf(const Weighed& query, int64_t chunk_id) const;

 private:
  absl::StatusOr<int64_t> Containing(const std::string& term) const;

  std::map<int64_t, Part> parts_;
  int64_t live_count_ = 0;
  uint64_t stems_ = 0;
  double average_length_ = 1;
  mutable std::mutex mutex_;
  // Of terms whose dead chunks had to be told from the live ones.
  mutable absl::flat_hash_map<std::string, int64_t> containing_;
};

}  // namespace blazon::retrieval
