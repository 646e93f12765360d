#include "service/cli/input.h"

#include <fstream>
#include <iostream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace blazon::service::cli {
namespace {

absl::StatusOr<std::string> ReadAll(std::istream& stream, absl::string_view name) {
  std::string bytes;
  char block[64 << 10];
  while (stream.read(block, sizeof block) || stream.gcount() > 0) {
    bytes.append(block, stream.gcount());
    if (bytes.size() > kMaxInputBytes) {
      return absl::InvalidArgumentError(absl::StrCat(name, " is larger than the limit of ", kMaxInputBytes, " bytes"));
    }
  }
  if (stream.bad()) return absl::DataLossError(absl::StrCat(name, " could not be read to its end"));
  return bytes;
}

}  // namespace

absl::StatusOr<std::string> ReadInput(const std::filesystem::path& path) {
  if (path == "-") return ReadAll(std::cin, "standard input");
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return absl::NotFoundError(absl::StrCat(path.string(), ": no such file"));
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " is a folder, not a file"));
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return absl::PermissionDeniedError(absl::StrCat(path.string(), " cannot be opened for reading"));
  return ReadAll(stream, path.string());
}

absl::StatusOr<std::string> TextOrInput(const std::string& text) {
  if (text != "-") return text;
  absl::StatusOr<std::string> input = ReadInput("-");
  if (input.ok() && !input->empty() && input->back() == '\n') input->pop_back();
  return input;
}

absl::StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view text) {
  absl::string_view list = absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
  if (list.size() >= 2 && list.front() == '[' && list.back() == ']') list = list.substr(1, list.size() - 2);
  std::vector<int32_t> ids;
  for (const absl::string_view group : absl::StrSplit(list, ',')) {
    const size_t before = ids.size();
    for (const absl::string_view entry : absl::StrSplit(group, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
      int32_t id = 0;
      if (!absl::SimpleAtoi(entry, &id)) {
        return absl::InvalidArgumentError(absl::StrCat(
            "\"", entry, "\" is not a token id; give ids separated by commas or spaces, or a JSON list of them"));
      }
      ids.push_back(id);
    }
    if (ids.size() == before) {
      return absl::InvalidArgumentError(
          "a token id is missing; give ids separated by commas or spaces, or a JSON list of them");
    }
  }
  return ids;
}

std::vector<std::string> SplitList(std::string_view list, bool nul) {
  std::vector<std::string> entries;
  for (absl::string_view entry :
       absl::StrSplit(absl::string_view(list.data(), list.size()), nul ? '\0' : '\n', absl::SkipEmpty())) {
    if (!nul && entry.back() == '\r') entry.remove_suffix(1);
    if (!entry.empty()) entries.emplace_back(entry);
  }
  return entries;
}

absl::StatusOr<std::vector<std::string>> GatherPaths(std::vector<std::string> paths, const std::string& files_from,
                                                     bool nul) {
  if (files_from.empty()) return paths;
  absl::StatusOr<std::string> list = ReadInput(files_from);
  if (!list.ok()) return list.status();
  for (std::string& entry : SplitList(*list, nul)) paths.push_back(std::move(entry));
  return paths;
}

}  // namespace blazon::service::cli
