// What a collection has acknowledged, kept apart from SQLite: the file "commits".
//
// SQLite takes the first frame of its log that does not fit for the log's end, as a crash in mid-write would leave it.
// So one flipped bit in the log drops changes without a word, or lays the log's older pages over newer ones of the
// database. After each commit the writer notes here which generation is durable and how far the log reaches; each
// opening compares.
//
// File: two places of 64 bytes, at 0 and 4096, written in turn so that a torn one leaves the other: magic "BLZNCMT1",
// u64 generation, two u32 of the log's salt, u64 frames, 16 bytes zero, 16 bytes XXH3-128 of the rest; little-endian.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retrieval/files.h"

namespace blazon::retrieval {

struct CommitRecord {
  int64_t generation = 0;
  uint32_t salt[2] = {0, 0};  // of the log that the commit went to
  int64_t frames = 0;         // that the log has had then; 0: none
};

inline constexpr const char* kCommitFile = "commits";

// Makes the file, durable when it returns; one that is there is replaced.
absl::Status CreateCommitRecord(const std::filesystem::path& folder, const CommitRecord& record, Files& files);

// Notes a commit, durable when it returns. kNotFound: there is no such file.
absl::Status WriteCommitRecord(const std::filesystem::path& folder, const CommitRecord& record, Files& files);

// The newest record. kNotFound: there is no file; kDataLoss: neither place can be read.
absl::StatusOr<CommitRecord> ReadCommitRecord(const std::filesystem::path& folder);

// Whether the log beside `database_file` is the one that the record tells of; then it holds, whole, what the record
// says. False: the log has since been removed or started anew, which SQLite does only when all of it is in the database
// (a crash may leave a torn header then, before frames that are in the database). kDataLoss says what is wrong. A
// writer may be at work. vfs: SQLite's VFS by name, "" for the default.
absl::StatusOr<bool> CheckLog(const std::filesystem::path& database_file, const CommitRecord& record,
                              const std::string& vfs);

// The record of a commit of `generation` after which the log has `frames` frames.
absl::StatusOr<CommitRecord> RecordOf(const std::filesystem::path& database_file, int64_t generation, int64_t frames);

}  // namespace blazon::retrieval
