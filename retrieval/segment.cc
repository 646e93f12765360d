#include "retrieval/segment.h"

#include <faiss/impl/IDSelector.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <exception>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace blazon::retrieval {
namespace {

static_assert(std::endian::native == std::endian::little, "segment files are little-endian");

constexpr char kMagic[8] = {'B', 'L', 'Z', 'N', 'V', 'E', 'C', '1'};
constexpr uint32_t kFormatVersion = 1;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t dimension;
  uint64_t count;
  uint64_t number;
  uint8_t zero[16];
  uint8_t checksum[16];
};
static_assert(sizeof(Header) == 64);

std::string Checksum(const Header& header, absl::Span<const std::string_view> parts) {
  XXH3_state_t* state = XXH3_createState();
  XXH3_128bits_reset(state);
  XXH3_128bits_update(state, &header, offsetof(Header, checksum));
  for (std::string_view part : parts) XXH3_128bits_update(state, part.data(), part.size());
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
  XXH3_freeState(state);
  return std::string(reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest);
}

template <typename T>
std::string_view Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

absl::Status ReadFully(int descriptor, void* to, size_t size, const std::filesystem::path& file) {
  char* place = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t count = read(descriptor, place, size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError("read", file, errno);
    if (count == 0) return absl::DataLossError(absl::StrCat(file.string(), " ends early"));
    place += count;
    size -= static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

}  // namespace

Segment::Segment(int64_t number, int64_t dimension, std::vector<int64_t> ids, absl::Span<const float> vectors)
    : number_(number), ids_(std::move(ids)), index_(dimension) {
  index_.add(static_cast<faiss::Index::idx_t>(ids_.size()), vectors.data());
}

std::string Segment::FileName(int64_t number) { return absl::StrCat("segment-", number, ".vec"); }

int64_t Segment::Find(int64_t id) const {
  const auto place = std::lower_bound(ids_.begin(), ids_.end(), id);
  return place != ids_.end() && *place == id ? place - ids_.begin() : -1;
}

absl::StatusOr<std::string> Segment::Write(const std::filesystem::path& folder, Files& files) const {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kFormatVersion;
  header.dimension = static_cast<uint32_t>(index_.d);
  header.count = ids_.size();
  header.number = static_cast<uint64_t>(number_);
  const std::string_view parts[] = {Bytes(ids_), Bytes(index_.codes)};
  const std::string checksum = Checksum(header, parts);
  std::memcpy(header.checksum, checksum.data(), checksum.size());

  const std::filesystem::path file = folder / FileName(number_);
  std::filesystem::path temporary = file;
  temporary += ".tmp";
  absl::Status status = files.WriteAndSync(
      temporary, {std::string_view(reinterpret_cast<const char*>(&header), sizeof header), parts[0], parts[1]});
  if (status.ok()) status = files.Rename(temporary, file);
  if (status.ok()) status = files.SyncFolder(folder);
  if (!status.ok()) {
    files.Remove(temporary).IgnoreError();
    return status;
  }
  return checksum;
}

absl::StatusOr<std::shared_ptr<const Segment>> Segment::Read(const std::filesystem::path& folder, int64_t number,
                                                             int64_t dimension, const std::string& checksum) {
  const std::filesystem::path file = folder / FileName(number);
  const auto damaged = [&file](const std::string& what) {
    return absl::DataLossError(
        absl::StrCat(file.string(), " is damaged: ", what,
                     "; restore the collection from a copy, or index its documents again into a new folder"));
  };
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return FileError("open", file, errno);
  const absl::Cleanup close_file = [descriptor] { close(descriptor); };
  struct stat information {};
  if (fstat(descriptor, &information) != 0) return FileError("examine", file, errno);
  const uint64_t size = static_cast<uint64_t>(information.st_size);
  Header header;
  if (size < sizeof header) return damaged("it is shorter than its header");
  if (absl::Status status = ReadFully(descriptor, &header, sizeof header, file); !status.ok()) return status;
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return damaged("it does not start as a segment does");
  if (header.version != kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(file.string(), " has format version ", header.version,
                                                      "; this program reads version ", kFormatVersion));
  }
  if (header.dimension != dimension)
    return damaged(absl::StrCat("its dimension is ", header.dimension, ", the manifest says ", dimension));
  if (header.number != static_cast<uint64_t>(number)) return damaged("it is another segment");
  const uint64_t row_bytes = sizeof(int64_t) + static_cast<uint64_t>(dimension) * sizeof(float);
  if ((size - sizeof header) % row_bytes != 0 || header.count != (size - sizeof header) / row_bytes)
    return damaged("its size does not fit its header");

  std::shared_ptr<Segment> segment(new Segment(number, dimension));
  segment->ids_.resize(header.count);
  segment->index_.codes.resize(header.count * static_cast<uint64_t>(dimension) * sizeof(float));
  segment->index_.ntotal = static_cast<faiss::Index::idx_t>(header.count);
  if (absl::Status status = ReadFully(descriptor, segment->ids_.data(), header.count * sizeof(int64_t), file);
      !status.ok())
    return status;
  if (absl::Status status = ReadFully(descriptor, segment->index_.codes.data(), segment->index_.codes.size(), file);
      !status.ok())
    return status;
  const std::string actual = Checksum(header, {Bytes(segment->ids_), Bytes(segment->index_.codes)});
  if (actual != checksum || std::memcmp(header.checksum, actual.data(), actual.size()) != 0)
    return damaged("its checksum does not fit");
  return segment;
}

absl::StatusOr<std::vector<Segment::Hit>> Segment::Search(const float* query, int64_t count,
                                                          absl::Span<const uint8_t> allowed) const {
  count = std::min(count, size());
  std::vector<Hit> hits;
  if (count == 0) return hits;
  std::vector<float> cosines(static_cast<size_t>(count));
  std::vector<faiss::Index::idx_t> rows(static_cast<size_t>(count));
  try {
    faiss::IDSelectorBitmap selector(allowed.size(), allowed.data());
    faiss::SearchParameters parameters;
    parameters.sel = &selector;
    index_.search(1, query, count, cosines.data(), rows.data(), &parameters);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("vector search failed in ", FileName(number_)));
  }
  for (size_t i = 0; i < rows.size() && rows[i] >= 0; ++i) hits.push_back({rows[i], cosines[i]});
  return hits;
}

}  // namespace blazon::retrieval
