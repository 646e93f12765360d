#include "retrieval/word_index_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <optional>

#include "absl/strings/string_view.h"
#include "retrieval/text_language.h"

namespace blazon::retrieval {
namespace {

constexpr uint32_t kNoRow = ~uint32_t{0};

void AppendVarint(uint64_t value, std::string& to) {
  for (; value >= 0x80; value >>= 7) to.push_back(static_cast<char>(value | 0x80));
  to.push_back(static_cast<char>(value));
}

template <typename Value>
void AppendRaw(const Value& value, std::string& to) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename Values>
void AppendAll(const Values& values, std::string& to) {
  to.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(*values.data()));
}

// Numbers below 2^bits, one after the other, filled up to a byte.
class BitPacker {
 public:
  explicit BitPacker(std::string& to) : to_(to) {}
  void Put(uint32_t value, int bits) {
    held_ |= static_cast<uint64_t>(value) << count_;
    for (count_ += bits; count_ >= 8; count_ -= 8, held_ >>= 8) to_.push_back(static_cast<char>(held_));
  }
  void End() {
    if (count_ > 0) to_.push_back(static_cast<char>(held_));
    held_ = 0;
    count_ = 0;
  }

 private:
  std::string& to_;
  uint64_t held_ = 0;
  int count_ = 0;
};

double AverageLength(const std::vector<uint32_t>& lengths) {
  const auto total = std::accumulate(lengths.begin(), lengths.end(), uint64_t{0});
  const auto filled = std::count_if(lengths.begin(), lengths.end(), [](uint32_t length) { return length > 0; });
  return filled == 0 ? 1 : static_cast<double>(total) / static_cast<double>(filled);
}

}  // namespace

// --- layout ---

WordIndexWriter::WordIndexWriter(int64_t number, std::vector<int64_t> ids, std::vector<uint32_t> lengths,
                                 uint64_t stems)
    : ids_(std::move(ids)), lengths_(std::move(lengths)), bm25_(AverageLength(lengths_)) {
  std::memcpy(header_.magic, kWordIndexMagic, sizeof header_.magic);
  header_.version = kWordIndexVersion;
  header_.number = static_cast<uint64_t>(number);
  header_.stems = stems;
  header_.rows = ids_.size();
  header_.total_length = std::accumulate(lengths_.begin(), lengths_.end(), uint64_t{0});
  header_.average_length = AverageLength(lengths_);
  static_assert(kWordRules.size() < sizeof header_.rules);
  std::memcpy(header_.rules, kWordRules.data(), kWordRules.size());
}

// lone: the term has no other posting.
WordIndex::BlockInfo WordIndexWriter::Pack(absl::Span<const Posting> block, uint32_t row_before, bool lone,
                                           std::string& packed) const {
  WordIndex::BlockInfo info{};
  info.last_row = block.back().first;
  info.begin = static_cast<uint32_t>(packed.size());
  uint32_t distances = 0, frequencies = 0, odd = 0;
  double most = 0;
  for (uint32_t before = row_before; const auto& [row, frequency] : block) {
    distances |= row - before - 1;
    odd |= frequency & 1;
    most = std::max(most, bm25_.Impact(frequency, lengths_[row]));
    before = row;
  }
  const uint32_t unit = odd ? 1 : 2;
  for (const auto& [row, frequency] : block) frequencies |= frequency / unit - 1;
  info.impact = static_cast<uint16_t>(std::ceil(most * 65535));
  const int row_bits = lone ? 0 : std::bit_width(distances), frequency_bits = std::bit_width(frequencies);
  info.row_bits = static_cast<uint8_t>(row_bits);
  info.frequency_bits = static_cast<uint8_t>(frequency_bits | (odd ? 0 : WordIndex::kEven));
  BitPacker packer(packed);
  for (uint32_t before = row_before; const auto& [row, frequency] : block) {
    if (!lone) packer.Put(row - before - 1, row_bits);
    before = row;
  }
  packer.End();
  for (const auto& [row, frequency] : block) packer.Put(frequency / unit - 1, frequency_bits);
  packer.End();
  return info;
}

void WordIndexWriter::Add(std::string_view term, absl::Span<const Posting> postings) {
  std::string infos, packed;
  uint16_t impact = 0;
  for (size_t begin = 0; begin < postings.size(); begin += WordIndex::kBlock) {
    const uint32_t before = begin == 0 ? ~uint32_t{0} : postings[begin - 1].first;
    const WordIndex::BlockInfo info =
        Pack(postings.subspan(begin, WordIndex::kBlock), before, postings.size() == 1, packed);
    impact = std::max(impact, info.impact);
    if (postings.size() > WordIndex::kBlock) {
      AppendRaw(info, infos);
    } else {  // WordIndex::Postings::info_bytes
      AppendRaw(info.last_row, infos);
      AppendRaw(info.row_bits, infos);
      AppendRaw(info.frequency_bits, infos);
    }
  }
  size_t shared = 0;
  if (header_.terms % kTermGroup == 0) {
    groups_.push_back(static_cast<uint32_t>(entries_.size()));
    AppendRaw(uint64_t{postings_.size()}, entries_);
  } else {
    const auto [mine, theirs] = std::mismatch(term.begin(), term.end(), term_.begin(), term_.end());
    shared = static_cast<size_t>(mine - term.begin());
  }
  AppendVarint(shared, entries_);
  AppendVarint(term.size() - shared, entries_);
  entries_.append(term.substr(shared));
  AppendVarint(postings.size(), entries_);
  AppendVarint(infos.size() + packed.size(), entries_);
  AppendRaw(impact, entries_);
  term_ = term;
  postings_ += infos;
  postings_ += packed;
  ++header_.terms;
}

std::string WordIndexWriter::Finish() {
  header_.dictionary_bytes = groups_.size() * sizeof groups_[0] + entries_.size();
  header_.postings_bytes = postings_.size();
  std::string bytes;
  bytes.reserve(sizeof header_ + ids_.size() * 12 + header_.dictionary_bytes + postings_.size() + kWordIndexPadding);
  AppendRaw(header_, bytes);
  AppendAll(ids_, bytes);
  AppendAll(lengths_, bytes);
  AppendAll(groups_, bytes);
  bytes += entries_;
  bytes += postings_;
  bytes.append(kWordIndexPadding, '\0');
  const std::string checksum = WordIndexChecksum(bytes);
  std::memcpy(bytes.data() + offsetof(WordIndexHeader, checksum), checksum.data(), checksum.size());
  return bytes;
}

// --- from texts and indexes ---

void WordIndexBuilder::AddText(WordAnalyzer& analyzer, std::string_view text, uint32_t weight) {
  const auto row = static_cast<uint32_t>(ids_.size() - 1);
  analyzer.Analyze(text, [&](std::string_view term) {
    auto place = terms_.find(absl::string_view(term.data(), term.size()));
    if (place == terms_.end()) place = terms_.emplace(term, std::vector<WordIndexWriter::Posting>()).first;
    std::vector<WordIndexWriter::Posting>& postings = place->second;
    if (postings.empty() || postings.back().first != row) postings.emplace_back(row, 0);
    postings.back().second += weight;
    ++lengths_.back();
  });
}

void WordIndexBuilder::Add(int64_t id, std::string_view language, std::string_view title, std::string_view headings,
                           std::string_view text) {
  AddWithoutWords(id);
  const int stems = StemsOf(language);
  WordAnalyzer& analyzer = analyzers_.try_emplace(stems, stems).first->second;
  AddText(analyzer, title, Bm25::kTitle);
  AddText(analyzer, headings, Bm25::kHeadings);
  AddText(analyzer, text, Bm25::kText);
}

void WordIndexBuilder::AddWithoutWords(int64_t id) {
  ids_.push_back(id);
  lengths_.push_back(0);
}

absl::StatusOr<std::shared_ptr<const WordIndex>> WordIndexBuilder::Build(int64_t number,
                                                                         absl::Span<const Source> sources) {
  // Rows of the result, and where each source's rows go; the builder's own come last.
  std::vector<std::pair<int64_t, uint32_t>> order;  // id, length
  for (size_t i = 0; i < ids_.size(); ++i) order.emplace_back(ids_[i], lengths_[i]);
  for (const Source& source : sources) {
    for (int64_t row = 0; row < source.index->size(); ++row) {
      if (source.live[static_cast<size_t>(row / 8)] >> (row % 8) & 1)
        order.emplace_back(source.index->ids()[static_cast<size_t>(row)],
                           source.index->lengths()[static_cast<size_t>(row)]);
    }
  }
  std::sort(order.begin(), order.end());
  std::vector<int64_t> ids;
  std::vector<uint32_t> lengths;
  for (const auto& [id, length] : order) {
    ids.push_back(id);
    lengths.push_back(length);
  }
  const auto row_of = [&ids](int64_t id) {
    return static_cast<uint32_t>(std::lower_bound(ids.begin(), ids.end(), id) - ids.begin());
  };
  std::vector<std::vector<uint32_t>> rows_of_sources;
  for (const Source& source : sources) {
    std::vector<uint32_t>& rows = rows_of_sources.emplace_back();
    for (int64_t row = 0; row < source.index->size(); ++row) {
      const bool live = source.live[static_cast<size_t>(row / 8)] >> (row % 8) & 1;
      rows.push_back(live ? row_of(source.index->ids()[static_cast<size_t>(row)]) : kNoRow);
    }
  }
  std::vector<uint32_t> own_rows;
  for (const int64_t id : ids_) own_rows.push_back(row_of(id));

  std::vector<const std::pair<const std::string, std::vector<WordIndexWriter::Posting>>*> own;
  for (const auto& entry : terms_) own.push_back(&entry);
  std::sort(own.begin(), own.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
  std::vector<std::optional<WordIndex::Terms>> theirs;
  for (const Source& source : sources) {
    theirs.emplace_back(std::in_place, *source.index);
    if (!theirs.back()->Next()) {
      if (!theirs.back()->ok()) return source.index->Damaged();
      theirs.back().reset();
    }
  }

  uint64_t stems = 0;
  for (const auto& [place, analyzer] : analyzers_) stems |= uint64_t{1} << place;
  for (const Source& source : sources) stems |= source.index->stems();
  WordIndexWriter writer(number, std::move(ids), std::move(lengths), stems);
  std::vector<WordIndexWriter::Posting> postings;
  WordIndex::Block block;
  std::string term;
  for (auto next = own.begin();;) {
    const std::string* least = next == own.end() ? nullptr : &(*next)->first;
    for (const auto& terms : theirs) {
      if (terms && (!least || terms->term() < *least)) least = &terms->term();
    }
    if (!least) break;
    term = *least;
    postings.clear();
    for (size_t i = 0; i < theirs.size(); ++i) {
      if (!theirs[i] || theirs[i]->term() != term) continue;
      const WordIndex& index = *sources[i].index;
      for (int64_t b = 0; b < theirs[i]->postings().blocks(); ++b) {
        if (!index.Read(theirs[i]->postings(), b, block)) return index.Damaged();
        for (int j = 0; j < block.size; ++j) {
          const uint32_t row = rows_of_sources[i][block.rows[j]];
          if (row != kNoRow) postings.emplace_back(row, block.frequencies[j]);
        }
      }
      if (!theirs[i]->Next()) {
        if (!theirs[i]->ok()) return index.Damaged();
        theirs[i].reset();
      }
    }
    if (next != own.end() && (*next)->first == term) {
      for (const auto& [row, frequency] : (*next)->second) postings.emplace_back(own_rows[row], frequency);
      ++next;
    }
    if (postings.empty()) continue;  // all of its chunks are dead
    if (!std::is_sorted(postings.begin(), postings.end())) std::sort(postings.begin(), postings.end());
    writer.Add(term, postings);
  }
  terms_.clear();
  return WordIndex::FromBytes(writer.Finish());
}

}  // namespace blazon::retrieval
