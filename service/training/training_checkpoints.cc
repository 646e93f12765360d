#include "service/training/training_checkpoints.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "retrieval/files.h"
#include "service/checkpoint/durable_file.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/weights_digest.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kName[] = "checkpoint-";
constexpr char kTemporary[] = ".unfinished-";
constexpr char kTensors[] = "state.safetensors";
constexpr char kValues[] = "state.json";
constexpr char kManifest[] = "manifest.json";

// Puts the folder `made` at `place`. One that is there already is swapped for it in one step, so that a whole one is
// there at any moment, and is then found at `made`.
absl::Status Place(const fs::path& made, const fs::path& place) {
  std::error_code error;
  if (fs::exists(place, error)) {
    if (renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, place.c_str(), RENAME_EXCHANGE) == 0) return absl::OkStatus();
    if (errno != EINVAL && errno != ENOSYS)
      return absl::ErrnoToStatus(errno,
                                 absl::StrCat("cannot put ", made.string(), " in the place of ", place.string()));
    fs::remove_all(place, error);  // a file system that cannot swap
  }
  return retrieval::Files().Rename(made, place);
}

}  // namespace

absl::Status WriteTextFile(const fs::path& file, const std::string& text) {
  return WriteDurably(file, [&](FileAppender& appender) { return appender.Append(text.data(), text.size()); });
}

absl::StatusOr<TrainingCheckpoints> TrainingCheckpoints::Open(const fs::path& folder, int64_t keep) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return absl::UnavailableError(absl::StrCat("the folder ", folder.string(), " cannot be made: ", error.message()));
  std::vector<fs::path> unfinished;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (absl::StrContains(name, kTemporary) || absl::StrContains(name, ".tmp-")) unfinished.push_back(entry.path());
  }
  for (const fs::path& each : unfinished) fs::remove_all(each, error);
  return TrainingCheckpoints(folder, std::max<int64_t>(keep, 1));
}

fs::path TrainingCheckpoints::Folder(int64_t step) const { return folder_ / absl::StrFormat("%s%08d", kName, step); }

std::vector<int64_t> TrainingCheckpoints::Steps() const {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    if (!absl::StartsWith(name, kName)) continue;
    int64_t step = 0;
    const char* const begin = name.data() + std::string_view(kName).size();
    const auto [end, fault] = std::from_chars(begin, name.data() + name.size(), step);
    if (fault == std::errc() && end == name.data() + name.size()) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

absl::Status TrainingCheckpoints::Save(int64_t step, const TensorMap& tensors, const json& values,
                                       std::optional<int64_t> best) const {
  const fs::path made = Folder(step), temporary = folder_ / absl::StrCat(kTemporary, step, "-", getpid());
  std::error_code error;
  fs::remove_all(temporary, error);
  const auto write = [&]() -> absl::Status {
    if (!fs::create_directory(temporary, error))
      return absl::UnavailableError(
          absl::StrCat("the folder ", temporary.string(), " cannot be made: ", error.message()));
    if (absl::Status status = WriteSafetensors(temporary / kTensors, tensors); !status.ok()) return status;
    if (absl::Status status = WriteTextFile(temporary / kValues, values.dump(1)); !status.ok()) return status;
    json manifest = json::object();
    for (const char* name : {kTensors, kValues}) {
      const absl::StatusOr<std::string> digest = FileSha256(temporary / name);
      if (!digest.ok()) return digest.status();
      manifest[name] = absl::StrCat("sha256:", *digest);
    }
    if (absl::Status status = WriteTextFile(temporary / kManifest, manifest.dump(1)); !status.ok()) return status;
    if (absl::Status status = Place(temporary, made); !status.ok()) return status;
    return retrieval::Files().SyncFolder(folder_);
  };
  if (absl::Status status = write(); !status.ok()) {
    fs::remove_all(temporary, error);
    return absl::Status(
        status.code(), absl::StrCat("the checkpoint of step ", step, " could not be written: ", status.message(),
                                    ". What was saved before is untouched: free some space and give --restore latest"));
  }
  fs::remove_all(temporary, error);  // the one of the same step, when training was begun again at an older one
  std::vector<int64_t> steps = Steps();
  std::erase_if(steps, [&](int64_t each) { return each > step; });  // of a run that this one stands instead of
  const int64_t surplus = std::ssize(steps) - keep_;
  for (int64_t i = 0; i < surplus; ++i) {
    if (steps[static_cast<size_t>(i)] != best) Remove(steps[static_cast<size_t>(i)]);
  }
  return absl::OkStatus();
}

// Renamed first: a folder of the right name is never half removed.
void TrainingCheckpoints::Remove(int64_t step) const {
  const fs::path gone = folder_ / absl::StrCat(kTemporary, "removed-", step);
  std::error_code error;
  fs::remove_all(gone, error);
  fs::rename(Folder(step), gone, error);
  if (!error) fs::remove_all(gone, error);
}

void TrainingCheckpoints::RemoveOthers(int64_t but) const {
  for (const int64_t step : Steps()) {
    if (step != but) Remove(step);
  }
}

absl::StatusOr<TrainingCheckpoint> TrainingCheckpoints::Read(const fs::path& folder) {
  const absl::StatusOr<json> manifest = ReadJsonFile(folder / kManifest);
  if (!manifest.ok()) return manifest.status();
  for (const char* name : {kTensors, kValues}) {
    const absl::StatusOr<std::string> digest = FileSha256(folder / name);
    if (!digest.ok()) return digest.status();
    if (manifest->value(name, json()) != absl::StrCat("sha256:", *digest)) {
      return absl::DataLossError(
          absl::StrCat((folder / name).string(), " is damaged: its digest is not the manifest's"));
    }
  }
  TrainingCheckpoint checkpoint{.folder = folder, .tensors = {}, .values = {}};
  absl::StatusOr<json> values = ReadJsonFile(folder / kValues);
  if (!values.ok()) return values.status();
  checkpoint.values = *std::move(values);
  absl::StatusOr<TensorMap> tensors = ReadSafetensors(folder / kTensors);
  if (!tensors.ok()) return tensors.status();
  checkpoint.tensors = *std::move(tensors);
  return checkpoint;
}

std::optional<TrainingCheckpoint> TrainingCheckpoints::Latest(std::vector<std::string>& notes) const {
  const std::vector<int64_t> steps = Steps();
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    absl::StatusOr<TrainingCheckpoint> checkpoint = Read(Folder(*step));
    if (checkpoint.ok()) return *std::move(checkpoint);
    notes.push_back(absl::StrCat("passed over ", Folder(*step).string(), ": ", checkpoint.status().message()));
  }
  return std::nullopt;
}

}  // namespace blazon::service
