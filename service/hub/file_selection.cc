#include "service/hub/file_selection.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::service::hub {
namespace {

constexpr char kWeights[] = "model.safetensors", kIndex[] = "model.safetensors.index.json";
constexpr size_t kMaxNamesShown = 20;

std::string Joined(const std::vector<std::string>& names) {
  const std::vector<std::string> shown(names.begin(), names.begin() + std::min(names.size(), kMaxNamesShown));
  return absl::StrCat(absl::StrJoin(shown, ", "),
                      names.size() > shown.size() ? absl::StrCat(" and ", names.size() - shown.size(), " more") : "");
}

// Of the files beside the weights: what tells how to use them.
bool IsDescription(const std::string& name) {
  if (name == "1_Pooling/config.json") return true;
  if (absl::StrContains(name, '/')) return false;
  if (absl::EndsWith(name, ".json")) return !absl::EndsWith(name, ".index.json");
  return name == "merges.txt" || name == "vocab.txt" || name == "chat_template.jinja" ||
         absl::StartsWith(name, "LICENSE") || absl::StartsWith(name, "LICENCE") || absl::StartsWith(name, "NOTICE");
}

absl::Status NothingButPickles(const HubModel& model, const std::vector<std::string>& pickles) {
  return absl::InvalidArgumentError(absl::StrCat(
      model.repository, " has its weights as pickles alone (", Joined(pickles),
      "), and loading one runs code of whoever made it: they are not fetched. The hub often has a converted copy: look "
      "among the model's pull requests for one by its safetensors convertor, and pull ",
      model.repository,
      "@refs/pr/NUMBER. Or fetch the files yourself and convert them here with 'make convert IN=FOLDER OUT=FOLDER'."));
}

}  // namespace

bool IsPickleName(absl::string_view name) {
  const std::string lower = absl::AsciiStrToLower(name);
  for (const absl::string_view extension : {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}) {
    if (absl::EndsWith(lower, extension)) return true;
  }
  return false;
}

absl::StatusOr<FileSelection> SelectFiles(const HubModel& model, absl::string_view file) {
  FileSelection selection;
  std::map<std::string, const HubFile*> by_name;
  for (const HubFile& each : model.files) by_name[each.name] = &each;
  if (!file.empty()) {
    const auto found = by_name.find(std::string(file));
    if (found == by_name.end()) {
      std::vector<std::string> names;
      for (const auto& [name, each] : by_name) names.push_back(name);
      return absl::NotFoundError(absl::StrCat(model.repository, " has no file ", std::string(file), " at ",
                                              model.revision, ". It has ", Joined(names), "."));
    }
    if (IsPickleName(file)) return NothingButPickles(model, {found->first});
    selection.files.push_back(*found->second);
    return selection;
  }

  std::vector<std::string> pickles, ggufs;
  for (const auto& [name, each] : by_name) {
    if (IsDescription(name)) selection.files.push_back(*each);
    if (absl::EndsWith(name, ".gguf")) ggufs.push_back(name);
    if (IsPickleName(name) && !absl::StrContains(name, '/') && name != "training_args.bin") pickles.push_back(name);
  }
  if (by_name.contains(kWeights)) {
    selection.files.push_back(*by_name[kWeights]);
    return selection;
  }
  if (by_name.contains(kIndex)) {
    selection.index.push_back(*by_name[kIndex]);
    return selection;
  }
  if (ggufs.size() == 1) {
    selection.files.push_back(*by_name[ggufs.front()]);
    return selection;
  }
  if (ggufs.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(model.repository, " has ", ggufs.size(),
                                                   " GGUF files; name one, as in ", model.repository, ":",
                                                   ggufs.front(), ". They are ", Joined(ggufs), "."));
  }
  if (!pickles.empty()) return NothingButPickles(model, pickles);
  return absl::NotFoundError(absl::StrCat(model.repository, " has no weights that Blazon reads: neither ", kWeights,
                                          " nor ", kIndex, " nor a GGUF file"));
}

absl::StatusOr<std::vector<HubFile>> FilesOfIndex(const HubModel& model, absl::string_view index) {
  const auto wrong = [&](const std::string& what) {
    return absl::DataLossError(absl::StrCat(model.repository, "'s ", kIndex, " ", what));
  };
  const nlohmann::json json = nlohmann::json::parse(index, nullptr, /*allow_exceptions=*/false);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object() || map->empty()) return wrong("has no weight_map");
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) return wrong("has a file that is no text");
    names.insert(file.get<std::string>());
  }
  std::vector<HubFile> files;
  for (const HubFile& file : model.files) {
    if (names.erase(file.name) == 0) continue;
    if (!absl::EndsWith(file.name, ".safetensors") || absl::StrContains(file.name, '/')) {
      return wrong(absl::StrCat("names ", file.name, ", which is no safetensors file beside it"));
    }
    files.push_back(file);
  }
  if (!names.empty()) {
    return wrong(absl::StrCat("names ", absl::Utf8SafeCHexEscape(names.begin()->substr(0, 200)),
                              ", which the repository does not have"));
  }
  return files;
}

}  // namespace blazon::service::hub
