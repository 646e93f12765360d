// An immutable inverted index of the words of one segment's chunks: one file, checked whole when it is opened and read
// through the page cache from then on.
//
// Rows are those of the vector segment of the same number. A term's postings stand in blocks of 128, each packed in as
// few bits as its numbers need, each with the row of its last posting and the most that one of its postings can
// contribute to a BM25 score, so that searches (retrieval/word_search.h) pass over blocks without reading them.
//
// File, little-endian: 128 bytes of header (WordIndexHeader), ids (i64 a row, ascending), lengths (u32 a row: its
// terms), dictionary (places of groups of 16 terms, u32 each; then groups of terms, ascending by bytes, each term
// without the prefix it shares with the one before), postings, 8 bytes of zeros. The checksum is XXH3-128 of all bytes
// but itself.
//
// Thread safety: const.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/files.h"

namespace blazon::retrieval {

struct WordIndexHeader {
  char magic[8];     // "BLZNWRD1"
  uint32_t version;  // of the format
  uint32_t terms;
  uint64_t number;  // of the segment
  uint64_t rows;
  uint64_t total_length;  // sum of the lengths
  uint64_t dictionary_bytes;
  uint64_t postings_bytes;
  char rules[24];         // kWordRules of the writer, zeros after it
  double average_length;  // that impacts were computed for
  uint64_t stems;         // bit s: chunks of languages that StemsOf (text_language.h) gives s are among the rows
  uint8_t zero[16];
  uint8_t checksum[16];
};
static_assert(sizeof(WordIndexHeader) == 128);

// BM25 (Robertson and Zaragoza 2009) with the parameters of SQLite's FTS5. A frequency is twice the sum of the weights
// of a term's occurrences in a chunk: title 2, headings 1.5, text 1.
struct Bm25 {
  static constexpr double kK1 = 1.2, kB = 0.75;
  static constexpr uint32_t kTitle = 4, kHeadings = 3, kText = 2;
  explicit Bm25(double average_length) : base(2 * kK1 * (1 - kB)), slope(2 * kK1 * kB / average_length) {}
  // In [0, 1); a score is the sum over terms of idf * (kK1 + 1) * Impact.
  double Impact(uint32_t frequency, uint32_t length) const { return frequency / (frequency + base + slope * length); }
  double base, slope;
};

class WordIndex {
 public:
  static constexpr int kBlock = 128;

  // Of a block of postings.
  struct BlockInfo {
    uint32_t last_row;
    uint32_t begin;          // of its bits, from the end of the term's block infos
    uint16_t impact;         // Bm25::Impact at average_length() is at most impact / 65535
    uint8_t row_bits;        // of each distance to the row before, less 1
    uint8_t frequency_bits;  // of each frequency less 1; with kEven, of half of it less 1
  };
  static_assert(sizeof(BlockInfo) == 12);
  static constexpr uint8_t kEven = 0x80;

  // The postings of one term.
  struct Postings {
    int64_t count = 0;  // rows
    double impact = 0;  // the most of its blocks
    const char* data = nullptr;
    size_t bytes = 0;
    int64_t blocks() const { return (count + kBlock - 1) / kBlock; }
    // Block infos come first. The only one of a term has but last_row, row_bits and frequency_bits: the rest is known.
    // Its only posting, where there is one, has no bits for its row.
    size_t info_bytes() const { return blocks() == 1 ? 6 : static_cast<size_t>(blocks()) * sizeof(BlockInfo); }
    BlockInfo info(int64_t block) const;
  };
  // One block, unpacked.
  struct Block {
    int size = 0;
    uint32_t rows[kBlock];
    uint32_t frequencies[kBlock];
  };

  // Goes through the terms, ascending; the index must outlive it.
  class Terms {
   public:
    explicit Terms(const WordIndex& index) : index_(index) {}
    bool Next();  // false at the end, and when the dictionary makes no sense: then not ok()
    bool ok() const { return ok_; }
    const std::string& term() const { return term_; }
    const Postings& postings() const { return postings_; }

   private:
    const WordIndex& index_;
    int64_t taken_ = 0;
    size_t at_ = 0;
    bool ok_ = true;
    std::string term_;
    Postings postings_;
  };

  ~WordIndex();
  WordIndex(const WordIndex&) = delete;

  // `bytes` of a file, as WordIndexWriter makes them; the checksum is set.
  static absl::StatusOr<std::shared_ptr<const WordIndex>> FromBytes(std::string bytes);
  // Writes the file into `folder` under its name in place of another one, durable when it returns.
  absl::Status Write(const std::filesystem::path& folder, Files& files) const;
  // kDataLoss: the file is not, byte for byte, the one with this checksum, or its terms were made by other rules than
  // kWordRules. kNotFound: there is none.
  static absl::StatusOr<std::shared_ptr<const WordIndex>> Read(const std::filesystem::path& folder, int64_t number,
                                                               const std::string& checksum);
  // Going by what the file says itself. kDataLoss: it does not fit its own checksum.
  static absl::StatusOr<std::shared_ptr<const WordIndex>> Read(const std::filesystem::path& file);
  static std::string FileName(int64_t number);

  int64_t number() const { return static_cast<int64_t>(header_.number); }
  int64_t size() const { return static_cast<int64_t>(header_.rows); }
  int64_t terms() const { return header_.terms; }
  int64_t total_length() const { return static_cast<int64_t>(header_.total_length); }
  double average_length() const { return header_.average_length; }
  int64_t bytes() const { return static_cast<int64_t>(content_.size()); }
  std::string checksum() const;
  std::string_view rules() const;
  uint64_t stems() const { return header_.stems; }
  absl::Span<const int64_t> ids() const { return ids_; }
  absl::Span<const uint32_t> lengths() const { return lengths_; }  // 0 for a chunk that was dead when it was built
  int64_t Find(int64_t id) const;                                  // the row of an id, -1 when it has none

  // The postings of a term; count 0 when no row has it.
  Postings Find(std::string_view term) const;
  // Unpacks a block. False: the bytes are not those that were checked when the file was opened.
  bool Read(const Postings& postings, int64_t block, Block& to) const;
  // What Read returning false means, with the file's name.
  absl::Status Damaged(const std::string& what = "it has changed since it was opened") const;
  // Reads everything, and compares what is kept twice. kDataLoss says what does not fit.
  absl::Status CheckContent() const;

 private:
  WordIndex() = default;
  absl::Status Parse(const std::filesystem::path& file);
  // Number `entry` of the dictionary, which stands at `at`; moves `at` past it. term, postings: those of the entry
  // before. False: it makes no sense.
  bool ReadEntry(int64_t entry, size_t& at, std::string& term, Postings& postings) const;

  std::filesystem::path file_;  // empty for one in memory
  std::string bytes_;           // of one in memory
  void* mapping_ = nullptr;
  std::string_view content_;
  WordIndexHeader header_{};
  absl::Span<const int64_t> ids_;
  absl::Span<const uint32_t> lengths_;
  absl::Span<const uint32_t> groups_;  // where each group of terms begins
  std::string_view entries_, postings_;
};

}  // namespace blazon::retrieval
