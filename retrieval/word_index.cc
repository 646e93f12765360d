#include "retrieval/word_index.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "retrieval/sqlite.h"
#include "retrieval/word_index_writer.h"

namespace blazon::retrieval {
namespace {

static_assert(std::endian::native == std::endian::little, "word indexes are little-endian");

bool ReadVarint(std::string_view bytes, size_t& at, uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 64 && at < bytes.size(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes[at++]);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

// `count` numbers of `bits` bits each, less 1, from 8 readable bytes more than they need.
void UnpackBits(const char* from, int bits, int count, uint32_t* to) {
  if (bits == 0) {
    std::fill(to, to + count, 1);
    return;
  }
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  for (int i = 0, at = 0; i < count; ++i, at += bits) {
    uint64_t word;
    std::memcpy(&word, from + at / 8, sizeof word);
    to[i] = static_cast<uint32_t>((word >> (at % 8)) & mask) + 1;
  }
}

}  // namespace

std::string WordIndexChecksum(std::string_view content) {
  XXH3_state_t* state = XXH3_createState();
  XXH3_128bits_reset(state);
  XXH3_128bits_update(state, content.data(), offsetof(WordIndexHeader, checksum));
  XXH3_128bits_update(state, content.data() + sizeof(WordIndexHeader), content.size() - sizeof(WordIndexHeader));
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
  XXH3_freeState(state);
  return std::string(reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest);
}

WordIndex::~WordIndex() {
  if (mapping_) munmap(mapping_, content_.size());
}

std::string WordIndex::FileName(int64_t number) { return absl::StrCat("segment-", number, ".words"); }

std::string WordIndex::checksum() const {
  return std::string(reinterpret_cast<const char*>(header_.checksum), sizeof header_.checksum);
}

std::string_view WordIndex::rules() const { return {header_.rules, strnlen(header_.rules, sizeof header_.rules)}; }

absl::Status WordIndex::Damaged(const std::string& what) const {
  return absl::DataLossError(absl::StrCat(file_.empty() ? FileName(number()) : file_.string(), " is damaged: ", what,
                                          file_.empty() ? "" : RepairRemedy(file_.parent_path())));
}

int64_t WordIndex::Find(int64_t id) const {
  const auto place = std::lower_bound(ids_.begin(), ids_.end(), id);
  return place != ids_.end() && *place == id ? place - ids_.begin() : -1;
}

// --- the file ---

absl::Status WordIndex::Parse(const std::filesystem::path& file) {
  file_ = file;
  if (content_.size() < sizeof header_) return Damaged("it is shorter than its header");
  std::memcpy(&header_, content_.data(), sizeof header_);
  if (std::memcmp(header_.magic, kWordIndexMagic, sizeof header_.magic) != 0)
    return Damaged("it does not start as a word index does");
  if (header_.version != kWordIndexVersion) {
    return absl::FailedPreconditionError(absl::StrCat(file.string(), " has format version ", header_.version,
                                                      "; this program reads version ", kWordIndexVersion));
  }
  if (WordIndexChecksum(content_) != checksum()) return Damaged("its checksum does not fit");
  const uint64_t groups = (uint64_t{header_.terms} + kTermGroup - 1) / kTermGroup;
  const uint64_t rest = content_.size() - sizeof header_;
  if (header_.rows > rest / 12 || header_.dictionary_bytes > rest || header_.postings_bytes > rest ||
      groups * sizeof(uint32_t) > header_.dictionary_bytes || !(header_.average_length > 0) ||
      rest != header_.rows * 12 + header_.dictionary_bytes + header_.postings_bytes + kWordIndexPadding)
    return Damaged("its size does not fit its header");
  const char* at = content_.data() + sizeof header_;
  ids_ = {reinterpret_cast<const int64_t*>(at), header_.rows};
  at += header_.rows * sizeof(int64_t);
  lengths_ = {reinterpret_cast<const uint32_t*>(at), header_.rows};
  at += header_.rows * sizeof(uint32_t);
  groups_ = {reinterpret_cast<const uint32_t*>(at), groups};
  entries_ = {at + groups * sizeof(uint32_t), header_.dictionary_bytes - groups * sizeof(uint32_t)};
  at += header_.dictionary_bytes;
  postings_ = {at, header_.postings_bytes};
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const WordIndex>> WordIndex::FromBytes(std::string bytes) {
  std::shared_ptr<WordIndex> index(new WordIndex);
  index->bytes_ = std::move(bytes);
  index->content_ = index->bytes_;
  if (absl::Status status = index->Parse({}); !status.ok()) return status;
  return index;
}

absl::StatusOr<std::shared_ptr<const WordIndex>> WordIndex::Read(const std::filesystem::path& file) {
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return FileError("open", file, errno);
  const absl::Cleanup close_file = [descriptor] { close(descriptor); };
  struct stat information {};
  if (fstat(descriptor, &information) != 0) return FileError("examine", file, errno);
  std::shared_ptr<WordIndex> index(new WordIndex);
  if (information.st_size > 0) {
    const auto size = static_cast<size_t>(information.st_size);
    void* mapping = mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (mapping == MAP_FAILED) return FileError("map", file, errno);
    madvise(mapping, size, MADV_WILLNEED);  // a wish: it may fail
    index->mapping_ = mapping;
    index->content_ = {static_cast<const char*>(mapping), size};
  }
  if (absl::Status status = index->Parse(file); !status.ok()) return status;
  return index;
}

absl::StatusOr<std::shared_ptr<const WordIndex>> WordIndex::Read(const std::filesystem::path& folder, int64_t number,
                                                                 const std::string& checksum) {
  absl::StatusOr<std::shared_ptr<const WordIndex>> index = Read(folder / FileName(number));
  if (index.ok() && ((*index)->number() != number || (*index)->checksum() != checksum))
    return (*index)->Damaged("it is another segment's");
  if (index.ok() && (*index)->rules() != kWordRules) {
    return absl::DataLossError(absl::StrCat((folder / FileName(number)).string(), " has terms by the rules '",
                                            std::string((*index)->rules()), "', and this program looks for those by '",
                                            std::string(kWordRules), "'", RepairRemedy(folder)));
  }
  return index;
}

absl::Status WordIndex::Write(const std::filesystem::path& folder, Files& files) const {
  const std::filesystem::path file = folder / FileName(number());
  std::filesystem::path temporary = file;
  temporary += ".tmp";
  files.Remove(temporary).IgnoreError();  // of a writer that was killed
  absl::Status status = files.WriteAndSync(temporary, {content_});
  if (status.ok()) status = files.Rename(temporary, file);
  if (status.ok()) status = files.SyncFolder(folder);
  if (!status.ok()) files.Remove(temporary).IgnoreError();
  return status;
}

// --- terms and postings ---

WordIndex::BlockInfo WordIndex::Postings::info(int64_t block) const {
  BlockInfo info{};
  if (blocks() == 1) {
    std::memcpy(&info.last_row, data, sizeof info.last_row);
    info.row_bits = static_cast<uint8_t>(data[4]);
    info.frequency_bits = static_cast<uint8_t>(data[5]);
    info.impact = static_cast<uint16_t>(impact * 65535 + 0.5);
  } else {
    std::memcpy(&info, data + block * static_cast<int64_t>(sizeof info), sizeof info);
  }
  return info;
}

bool WordIndex::ReadEntry(int64_t entry, size_t& at, std::string& term, Postings& postings) const {
  uint64_t begin = 0, shared, added, count, bytes;
  if (entry % kTermGroup == 0) {  // where the group's first postings begin
    if (entries_.size() < at + sizeof begin) return false;
    std::memcpy(&begin, entries_.data() + at, sizeof begin);
    at += sizeof begin;
    term.clear();
  } else {
    begin = static_cast<uint64_t>(postings.data - postings_.data()) + postings.bytes;
  }
  uint16_t impact;
  if (!ReadVarint(entries_, at, shared) || !ReadVarint(entries_, at, added) || shared > term.size() ||
      added > entries_.size() - at)
    return false;
  term.resize(shared);
  term.append(entries_.substr(at, added));
  at += added;
  if (!ReadVarint(entries_, at, count) || !ReadVarint(entries_, at, bytes) || entries_.size() - at < sizeof impact)
    return false;
  std::memcpy(&impact, entries_.data() + at, sizeof impact);
  at += sizeof impact;
  if (count > header_.rows || begin > postings_.size() || bytes > postings_.size() - begin) return false;
  postings.count = static_cast<int64_t>(count);
  postings.impact = impact / 65535.0;
  postings.data = postings_.data() + begin;
  postings.bytes = bytes;
  return bytes >= postings.info_bytes();
}

WordIndex::Postings WordIndex::Find(std::string_view wanted) const {
  // The last group whose first term is not after the wanted one.
  std::string term;
  Postings postings;
  size_t low = 0, high = groups_.size();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    size_t at = groups_[middle];
    if (!ReadEntry(static_cast<int64_t>(middle) * kTermGroup, at, term, postings)) return {};
    if (term <= wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return {};
  size_t at = groups_[low - 1];
  const int64_t first = static_cast<int64_t>(low - 1) * kTermGroup;
  for (int64_t entry = first; entry < std::min<int64_t>(first + kTermGroup, header_.terms); ++entry) {
    if (!ReadEntry(entry, at, term, postings)) return {};
    if (term == wanted) return postings;
    if (term > wanted) break;
  }
  return {};
}

bool WordIndex::Terms::Next() {
  if (!ok_ || taken_ == index_.terms()) return false;
  ok_ = index_.ReadEntry(taken_, at_, term_, postings_);
  ++taken_;
  return ok_;
}

bool WordIndex::Read(const Postings& postings, int64_t block, Block& to) const {
  const BlockInfo info = postings.info(block);
  to.size = static_cast<int>(std::min<int64_t>(kBlock, postings.count - block * kBlock));
  const int frequency_bits = info.frequency_bits & ~kEven;
  const bool lone = postings.count == 1;
  const uint64_t row_bytes = lone ? 0 : (static_cast<uint64_t>(to.size) * info.row_bits + 7) / 8;
  const uint64_t frequency_bytes = (static_cast<uint64_t>(to.size) * static_cast<uint64_t>(frequency_bits) + 7) / 8;
  if (info.row_bits > 32 || frequency_bits > 32 || info.last_row >= header_.rows ||
      postings.info_bytes() + info.begin + row_bytes + frequency_bytes > postings.bytes)
    return false;
  const char* from = postings.data + postings.info_bytes() + info.begin;
  if (lone) {
    to.rows[0] = info.last_row + 1;
  } else {
    UnpackBits(from, info.row_bits, to.size, to.rows);
  }
  UnpackBits(from + row_bytes, frequency_bits, to.size, to.frequencies);
  uint64_t row = block == 0 ? ~uint64_t{0} : postings.info(block - 1).last_row;
  for (int i = 0; i < to.size; ++i) {
    row += to.rows[i];
    to.rows[i] = static_cast<uint32_t>(row);
  }
  if (info.frequency_bits & kEven) {
    for (int i = 0; i < to.size; ++i) to.frequencies[i] *= 2;
  }
  return row == info.last_row;  // and so all rows are below header_.rows
}

absl::Status WordIndex::CheckContent() const {
  if (!std::is_sorted(ids_.begin(), ids_.end(), std::less_equal<>())) return Damaged("its ids do not ascend");
  uint64_t total = 0;
  for (const uint32_t length : lengths_) total += length;
  if (total != header_.total_length) return Damaged("its lengths do not add up");
  Terms terms(*this);
  std::string before;
  size_t end = 0;
  Block block;
  const Bm25 bm25(average_length());
  while (terms.Next()) {
    const Postings& postings = terms.postings();
    if (terms.term() <= before || postings.data != postings_.data() + end || postings.count == 0)
      return Damaged("its dictionary is out of order");
    before = terms.term();
    end += postings.bytes;
    for (int64_t i = 0; i < postings.blocks(); ++i) {
      if (!Read(postings, i, block)) return Damaged(absl::StrCat("the postings of '", before, "' make no sense"));
      const double most = postings.info(i).impact / 65535.0;
      if (most > postings.impact) return Damaged(absl::StrCat("the bounds of '", before, "' make no sense"));
      for (int j = 0; j < block.size; ++j) {
        if (bm25.Impact(block.frequencies[j], lengths_[block.rows[j]]) > most + 1e-9)
          return Damaged(absl::StrCat("a bound of '", before, "' is exceeded"));
      }
    }
  }
  if (!terms.ok() || end != postings_.size()) return Damaged("its dictionary makes no sense");
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
