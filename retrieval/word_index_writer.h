// Makes word indexes (retrieval/word_index.h): from texts, from older indexes, from both.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/word_analyzer.h"
#include "retrieval/word_index.h"

namespace blazon::retrieval {

inline constexpr char kWordIndexMagic[9] = "BLZNWRD1";
inline constexpr uint32_t kWordIndexVersion = 1;
inline constexpr int kTermGroup = 16;
inline constexpr size_t kWordIndexPadding = 8;
// The checksum of a file's bytes, whatever stands in its own place.
std::string WordIndexChecksum(std::string_view content);

// Lays out one index, term by term.
class WordIndexWriter {
 public:
  using Posting = std::pair<uint32_t, uint32_t>;  // row, frequency (Bm25)

  // ids ascending, below 2^32 of them; lengths: terms of each.
  // stems: WordIndexHeader.
  WordIndexWriter(int64_t number, std::vector<int64_t> ids, std::vector<uint32_t> lengths, uint64_t stems);

  // Terms ascending, each once; postings by row, at least one.
  void Add(std::string_view term, absl::Span<const Posting> postings);
  // The file's bytes; the writer is used up.
  std::string Finish();

 private:
  WordIndex::BlockInfo Pack(absl::Span<const Posting> block, uint32_t row_before, bool lone, std::string& packed) const;

  WordIndexHeader header_{};
  std::vector<int64_t> ids_;
  std::vector<uint32_t> lengths_;
  Bm25 bm25_;
  std::vector<uint32_t> groups_;
  std::string entries_, postings_, term_;
};

// The words of chunks that are not in an index yet; about 10 bytes a word in memory.
class WordIndexBuilder {
 public:
  // An older index and which of its rows are taken over, one bit a row.
  struct Source {
    std::shared_ptr<const WordIndex> index;
    std::vector<uint8_t> live;
  };

  // ids ascending. language: of the text, as text_language.h has it.
  void Add(int64_t id, std::string_view language, std::string_view title, std::string_view headings,
           std::string_view text);
  void AddWithoutWords(int64_t id);  // of a dead chunk, whose row must stay
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }

  // The index of the sources' live rows and the added ones, in order of id; the builder is used up. kDataLoss: a
  // source's file has changed since it was opened.
  absl::StatusOr<std::shared_ptr<const WordIndex>> Build(int64_t number, absl::Span<const Source> sources = {});

 private:
  void AddText(WordAnalyzer& analyzer, std::string_view text, uint32_t weight);

  std::map<int, WordAnalyzer> analyzers_;  // by StemsOf
  std::vector<int64_t> ids_;
  std::vector<uint32_t> lengths_;
  absl::flat_hash_map<std::string, std::vector<WordIndexWriter::Posting>> terms_;
};

}  // namespace blazon::retrieval
