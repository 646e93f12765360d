#include "service/checkpoint/checkpoint_folder.h"

#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/safetensors.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;

constexpr char kWeights[] = "model.safetensors", kIndex[] = "model.safetensors.index.json";

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::string Shown(const std::string& text) { return absl::Utf8SafeCHexEscape(text.substr(0, 100)); }

// Tensor -> file, of an index.
absl::StatusOr<std::map<std::string, std::string>> ReadIndex(const fs::path& path) {
  const absl::StatusOr<nlohmann::json> index = ReadJsonFile(path);
  if (!index.ok()) return index.status();
  const auto map = index->find("weight_map");
  if (map == index->end() || !map->is_object() || map->empty()) {
    return absl::DataLossError(absl::StrCat(path.string(), " has no weight_map"));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    // A file of this folder and nothing else: an index is data and must not name other places.
    if (!file.is_string() || fs::path(file.get<std::string>()).filename() != file.get<std::string>() ||
        fs::path(file.get<std::string>()).extension() != ".safetensors") {
      return absl::DataLossError(absl::StrCat(path.string(), ": the file of tensor ", Shown(tensor),
                                              " is not the name of a safetensors file in this folder"));
    }
    files[tensor] = file.get<std::string>();
  }
  return files;
}

absl::Status ReadShards(CheckpointFolder& folder) {
  const fs::path index_path = folder.path / kIndex;
  const auto files = ReadIndex(index_path);
  if (!files.ok()) return files.status();
  std::set<std::string> names;
  for (const auto& [tensor, file] : *files) names.insert(file);
  for (const std::string& name : names) {
    const fs::path file = folder.path / name;
    if (!Exists(file)) {
      return absl::NotFoundError(
          absl::StrCat(file.string(), " is missing: ", kIndex, " names it. Download the rest of the checkpoint."));
    }
    absl::StatusOr<TensorMap> tensors = ReadSafetensors(file);
    if (!tensors.ok()) return tensors.status();
    for (auto& [tensor, values] : *tensors) {
      const auto listed = files->find(tensor);
      if (listed == files->end() || listed->second != name) {
        return absl::DataLossError(
            absl::StrCat(file.string(), ": tensor ", Shown(tensor), " is not listed for this file in ", kIndex));
      }
      folder.weights.emplace(tensor, std::move(values));
    }
    folder.weight_files.push_back(file);
  }
  for (const auto& [tensor, file] : *files) {
    if (!folder.weights.contains(tensor)) {
      return absl::DataLossError(absl::StrCat(index_path.string(), ": tensor ", Shown(tensor), " is not in ", file));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadWeights(CheckpointFolder& folder) {
  const fs::path single = folder.path / kWeights;
  if (Exists(single)) {
    absl::StatusOr<TensorMap> tensors = ReadSafetensors(single);
    if (!tensors.ok()) return tensors.status();
    folder.weights.insert(tensors->begin(), tensors->end());
    folder.weight_files.push_back(single);
    return absl::OkStatus();
  }
  if (Exists(folder.path / kIndex)) return ReadShards(folder);
  for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth"}) {
    if (!Exists(folder.path / pickle)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat((folder.path / pickle).string(),
                     " is a pickle, and loading one runs code of whoever made it. Get the checkpoint's safetensors "
                     "files, or convert it without running that code: make convert IN=",
                     folder.path.string(), " OUT=FOLDER"));
  }
  return absl::NotFoundError(absl::StrCat(folder.path.string(), " has neither ", kWeights, " nor ", kIndex));
}

}  // namespace

absl::StatusOr<CheckpointFolder> ReadCheckpointFolder(const fs::path& path) {
  CheckpointFolder folder;
  folder.path = path;
  absl::StatusOr<nlohmann::json> config = ReadJsonFile(path / "config.json");
  if (!config.ok()) return config.status();
  folder.config = *std::move(config);
  folder.generation_config = nlohmann::json::object();
  if (Exists(path / "generation_config.json")) {
    absl::StatusOr<nlohmann::json> generation = ReadJsonFile(path / "generation_config.json");
    if (!generation.ok()) return generation.status();
    folder.generation_config = *std::move(generation);
  }
  if (absl::Status status = ReadWeights(folder); !status.ok()) return status;
  return folder;
}

}  // namespace blazon::service
