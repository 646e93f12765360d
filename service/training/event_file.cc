#include "service/training/event_file.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace blazon::service {
namespace {

// CRC-32C (Castagnoli), reflected, as RFC 3720 appendix B.4 has it.
uint32_t Crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78u : 0u);
      table[i] = value;
    }
    return table;
  }();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

// So that the checksum of bytes that hold checksums is none of them.
uint32_t Masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u; }

template <typename T>
void AppendRaw(std::string& out, T value) {  // little-endian, as this machine
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

// ---- Protocol buffers' wire format (https://protobuf.dev/programming-guides/encoding).
void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}
enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
void AppendTag(std::string& out, uint32_t field, WireType type) { AppendVarint(out, field << 3 | type); }
void AppendBytes(std::string& out, uint32_t field, std::string_view bytes) {
  AppendTag(out, field, kBytes);
  AppendVarint(out, bytes.size());
  out.append(bytes);
}

// Event: wall_time = 1 (double), step = 2 (int64); what follows is one of file_version = 3, summary = 5, session_log
// = 7.
std::string BeginEvent(int64_t step) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  std::string event;
  AppendTag(event, 1, kFixed64);
  AppendRaw(event, now.count());
  AppendTag(event, 2, kVarint);
  AppendVarint(event, static_cast<uint64_t>(step));
  return event;
}

}  // namespace

absl::StatusOr<EventFile> EventFile::Create(const std::filesystem::path& folder, int64_t first_step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  std::filesystem::path path;
  File file(nullptr, std::fclose);
  for (int attempt = 0; file == nullptr && attempt < 1000 && (attempt == 0 || errno == EEXIST); ++attempt) {
    path = folder / absl::StrFormat("events.out.tfevents.%010d.blazon.%d.%d", seconds, getpid(), attempt);
    file.reset(std::fopen(path.c_str(), "wxe"));
  }
  if (file == nullptr)
    return absl::UnavailableError(absl::StrCat(path.string(), " cannot be written: ", std::strerror(errno)));
  EventFile events(std::move(path), std::move(file));
  std::string version = BeginEvent(0);
  AppendBytes(version, 3, "brain.Event:2");
  if (absl::Status status = events.WriteRecord(version); !status.ok()) return status;
  // session_log: status = 1 (START), from which on older files' events of these steps do not count.
  std::string start = BeginEvent(first_step);
  AppendBytes(start, 7, std::string_view("\x08\x01", 2));
  if (absl::Status status = events.WriteRecord(start); !status.ok()) return status;
  return events;
}

absl::Status EventFile::Add(int64_t step, const std::vector<std::pair<std::string_view, double>>& values) {
  std::string summary;
  for (const auto& [name, value] : values) {
    std::string entry;  // Summary.Value: tag = 1, simple_value = 2 (float)
    AppendBytes(entry, 1, name);
    AppendTag(entry, 2, kFixed32);
    AppendRaw(entry, static_cast<float>(value));
    AppendBytes(summary, 1, entry);
  }
  std::string event = BeginEvent(step);
  AppendBytes(event, 5, summary);
  return WriteRecord(event);
}

absl::Status EventFile::WriteRecord(std::string_view event) {
  std::string length, record;
  AppendRaw(length, static_cast<uint64_t>(event.size()));
  record = length;
  AppendRaw(record, Masked(Crc32c(length)));
  record.append(event);
  AppendRaw(record, Masked(Crc32c(event)));
  if (std::fwrite(record.data(), 1, record.size(), file_.get()) == record.size() && std::fflush(file_.get()) == 0)
    return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(path_.string(), " could not be written; is the disk full?"));
}

}  // namespace blazon::service
