#include "service/training/text_corpus.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "language/tokenizer/utf8.h"

namespace blazon::service {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

int64_t CountReplacements(std::string_view text) {
  int64_t count = 0;
  for (size_t at = text.find("\uFFFD"); at != std::string_view::npos; at = text.find("\uFFFD", at + 1)) ++count;
  return count;
}

absl::Status AddFile(const std::filesystem::path& path, TextCorpus* corpus) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path.string(), " cannot be read"));
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad()) return absl::UnavailableError(absl::StrCat(path.string(), " cannot be read to its end"));
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  if (!language::IsValidUtf8(text)) {
    const int64_t before = CountReplacements(text);
    text = language::ReplaceInvalidUtf8(text);
    corpus->repaired += CountReplacements(text) - before;
  }
  if (text.find('\r') != std::string::npos) text = absl::StrReplaceAll(text, {{"\r\n", "\n"}, {"\r", "\n"}});
  if (text.empty()) return absl::OkStatus();
  corpus->bytes += static_cast<int64_t>(text.size());
  corpus->texts.push_back(std::move(text));
  return absl::OkStatus();
}

absl::Status AddFolder(const std::filesystem::path& folder, TextCorpus* corpus) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::filesystem::path extension = entry->path().extension();
    if (entry->is_regular_file() && (extension == ".txt" || extension == ".md")) files.push_back(entry->path());
  }
  if (error) return absl::UnavailableError(absl::StrCat(folder.string(), ": ", error.message()));
  if (files.empty()) return absl::InvalidArgumentError(absl::StrCat(folder.string(), " has no *.txt and no *.md"));
  std::sort(files.begin(), files.end());
  for (const std::filesystem::path& file : files) {
    if (absl::Status status = AddFile(file, corpus); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TextCorpus> ReadTextCorpus(const std::vector<std::filesystem::path>& paths) {
  TextCorpus corpus;
  for (const std::filesystem::path& path : paths) {
    std::error_code error;
    const bool folder = std::filesystem::is_directory(path, error);
    if (absl::Status status = folder ? AddFolder(path, &corpus) : AddFile(path, &corpus); !status.ok()) return status;
  }
  if (corpus.texts.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is no text in ", absl::StrJoin(paths, ", ", [](std::string* out, const std::filesystem::path& path) {
          absl::StrAppend(out, path.string());
        })));
  }
  return corpus;
}

}  // namespace blazon::service
