// The checkpoints of one training run: what it takes to go on as if nothing had happened.
//
// A checkpoint is a folder "checkpoint-00000040" with state.safetensors (tensors), state.json (values) and
// manifest.json (the other files' digests). It is written under another name, its files fsynced, and renamed; so a
// folder of that name is whole, and one whose digests do not fit was damaged later. Older ones are removed only when a
// newer one is in its place.
//
// Thread safety: none; one process a folder (trainer.h keeps a lock).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/checkpoint/safetensors.h"

namespace blazon::service {

struct TrainingCheckpoint {
  std::filesystem::path folder;
  TensorMap tensors;      // views of the mapped file: read-only
  nlohmann::json values;  // an object; "step" is in it
};

class TrainingCheckpoints {
 public:
  // keep: how many of the latest stay, at least 1. Makes the folder; removes what a killed process left half-written.
  static absl::StatusOr<TrainingCheckpoints> Open(const std::filesystem::path& folder, int64_t keep);

  // Steps of those that there are, ascending, whole or damaged.
  std::vector<int64_t> Steps() const;
  std::filesystem::path Folder(int64_t step) const;

  // Durable when it returns. Then all but the latest `keep` and that of step `best` are removed.
  // On an error those before are untouched; the message names the file and the cause (a full disk).
  absl::Status Save(int64_t step, const TensorMap& tensors, const nlohmann::json& values,
                    std::optional<int64_t> best) const;

  // kDataLoss: damaged; the message names the file. kNotFound: none.
  static absl::StatusOr<TrainingCheckpoint> Read(const std::filesystem::path& folder);
  // The newest that is whole; nullopt: there is none. notes: receives a line for each damaged one.
  std::optional<TrainingCheckpoint> Latest(std::vector<std::string>& notes) const;

  // Removes all of them but that of step `but`.
  void RemoveOthers(int64_t but) const;

 private:
  TrainingCheckpoints(std::filesystem::path folder, int64_t keep) : folder_(std::move(folder)), keep_(keep) {}
  void Remove(int64_t step) const;

  std::filesystem::path folder_;
  int64_t keep_;
};

// Writes `text` to `file`, durably and all or nothing.
absl::Status WriteTextFile(const std::filesystem::path& file, const std::string& text);

}  // namespace blazon::service
