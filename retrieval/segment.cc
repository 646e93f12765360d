#include "retrieval/segment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "retrieval/sqlite.h"

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

int64_t RowBytes(int64_t dimension) {
  return static_cast<int64_t>(sizeof(int64_t)) + dimension * static_cast<int64_t>(sizeof(float));
}

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

template <typename Values>
std::string_view Bytes(const Values& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(*values.data())};
}

AlignedBuffer<float> Copied(absl::Span<const float> values) {
  AlignedBuffer<float> copy(values.size());
  std::copy(values.begin(), values.end(), copy.data());
  return copy;
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
    : Segment(number, dimension, std::move(ids), Copied(vectors)) {}

Segment::Segment(int64_t number, int64_t dimension, std::vector<int64_t> ids, AlignedBuffer<float> vectors)
    : number_(number), dimension_(dimension), ids_(std::move(ids)), vectors_(std::move(vectors)) {}

const ExactScan& Segment::scan() const {
  std::call_once(scanned_, [this] { scan_ = std::make_unique<ExactScan>(vectors_.data(), size(), dimension_); });
  return *scan_;
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
  header.dimension = static_cast<uint32_t>(dimension_);
  header.count = ids_.size();
  header.number = static_cast<uint64_t>(number_);
  const std::string_view parts[] = {Bytes(ids_), Bytes(vectors_)};
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
  const auto damaged = [&](const std::string& what) {
    return absl::DataLossError(absl::StrCat(file.string(), " is damaged: ", what, RepairRemedy(folder)));
  };
  std::string actual;
  absl::StatusOr<std::shared_ptr<const Segment>> segment = Read(file, &actual);
  if (!segment.ok()) return segment.status();
  if ((*segment)->dimension() != dimension)
    return damaged(absl::StrCat("its dimension is ", (*segment)->dimension(), ", the manifest says ", dimension));
  if ((*segment)->number() != number || actual != checksum) return damaged("it is another segment");
  return segment;
}

absl::Status Segment::CheckLength(const std::filesystem::path& folder, int64_t number, int64_t dimension,
                                  int64_t count) {
  const std::filesystem::path file = folder / FileName(number);
  struct stat information {};
  if (stat(file.c_str(), &information) != 0) return FileError("examine", file, errno);
  const int64_t expected = static_cast<int64_t>(sizeof(Header)) + count * RowBytes(dimension);
  if (information.st_size == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(file.string(), " is damaged: it has ", information.st_size, " bytes, not ",
                                          expected, RepairRemedy(folder)));
}

absl::StatusOr<std::shared_ptr<const Segment>> Segment::Read(const std::filesystem::path& file, std::string* checksum) {
  const auto damaged = [&file](const std::string& what) {
    return absl::DataLossError(absl::StrCat(file.string(), " is damaged: ", what, RepairRemedy(file.parent_path())));
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
  const uint64_t row_bytes = static_cast<uint64_t>(RowBytes(header.dimension));
  if (header.dimension == 0 || header.dimension > 1 << 20 || (size - sizeof header) % row_bytes != 0 ||
      header.count != (size - sizeof header) / row_bytes)
    return damaged("its size does not fit its header");

  std::vector<int64_t> ids(header.count);
  AlignedBuffer<float> vectors(header.count * static_cast<uint64_t>(header.dimension));
  if (absl::Status status = ReadFully(descriptor, ids.data(), ids.size() * sizeof(int64_t), file); !status.ok())
    return status;
  if (absl::Status status = ReadFully(descriptor, vectors.data(), vectors.bytes(), file); !status.ok()) return status;
  const std::string actual = Checksum(header, {Bytes(ids), Bytes(vectors)});
  if (std::memcmp(header.checksum, actual.data(), actual.size()) != 0) return damaged("its checksum does not fit");
  if (checksum) *checksum = actual;
  return std::shared_ptr<const Segment>(new Segment(
      static_cast<int64_t>(header.number), static_cast<int64_t>(header.dimension), std::move(ids), std::move(vectors)));
}

absl::Status Segment::CheckQuery(absl::Span<const float> query) const {
  if (static_cast<int64_t>(query.size()) != dimension_) {
    return absl::InvalidArgumentError(
        absl::StrCat("the question's vector has ", query.size(), " numbers, the collection's have ", dimension_));
  }
  if (!std::all_of(query.begin(), query.end(), [](float value) { return std::isfinite(value); }))
    return absl::InvalidArgumentError("the question's vector has a number that is not finite");
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Segment::Hit>> Segment::Search(absl::Span<const float> query, int64_t count,
                                                          absl::Span<const uint8_t> allowed) const {
  if (absl::Status status = CheckQuery(query); !status.ok()) return status;
  return std::move(scan().Search(query, count, allowed)[0]);
}

}  // namespace blazon::retrieval
