#include "retrieval/find_files.h"

#include <algorithm>
#include <map>
#include <optional>
#include <system_error>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "retrieval/document_loader.h"
#include "retrieval/files.h"
#include "retrieval/path_patterns.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

bool IsHidden(const fs::path& name) { return name.string().starts_with('.'); }

// Whether the patterns name the file or a folder that it lies in.
bool NamesFile(const PathPatterns& patterns, const std::string& path) {
  for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    if (patterns.Judge(std::string_view(path).substr(0, slash), true) == Verdict::kIgnored) return true;
  }
  return patterns.Judge(path, false) == Verdict::kIgnored;
}

}  // namespace

absl::StatusOr<FoundFiles> FindFiles(absl::Span<const fs::path> paths, const FindOptions& options) {
  const absl::StatusOr<PathPatterns> include = PathPatterns::FromList(options.include),
                                     exclude = PathPatterns::FromList(options.exclude);
  if (!include.ok()) return include.status();
  if (!exclude.ok()) return exclude.status();
  FoundFiles found;
  std::map<std::pair<std::string, std::string>, fs::path> present;
  for (const fs::path& given : paths) {
    std::error_code error;
    const fs::path root = fs::canonical(given, error);
    if (error) return FileError("open", given, error.value());
    const bool folder = fs::is_directory(root, error);
    const std::string source = !options.source.empty() ? options.source
                               : folder                ? root.filename().string()
                                                       : root.parent_path().filename().string();
    const auto add = [&](const fs::path& file, std::string path) {
      const auto [place, fresh] = present.emplace(std::pair(source, path), file);
      if (fresh) {
        found.files.push_back({file, source, std::move(path)});
      } else if (place->second != file) {
        found.skipped.push_back({"", file.string(),
                                 absl::AlreadyExistsError(absl::StrCat(file.string(), " would be the document ", source,
                                                                       "/", path, ", which ", place->second.string(),
                                                                       " is; add it under another --source"))});
      }
    };
    if (!folder) {
      add(root, root.filename().string());
      continue;
    }
    found.sources.push_back(source);
    std::optional<IgnoreFiles> ignore;
    if (options.gitignore) ignore.emplace(root);
    fs::recursive_directory_iterator walk(root, fs::directory_options::none, error), end;
    if (error) return FileError("list", root, error.value());
    while (!error && walk != end) {
      const fs::directory_entry& entry = *walk;
      const fs::path at = entry.path();
      std::error_code kind_error;
      const bool is_link = entry.is_symlink(kind_error);
      const bool is_folder = !is_link && entry.is_directory(kind_error);
      const std::string path = at.lexically_relative(root).generic_string();
      if (IsHidden(at.filename())) {
        if (is_folder) walk.disable_recursion_pending();
      } else if (exclude->Judge(path, is_folder) == Verdict::kIgnored || (ignore && ignore->Ignores(at, is_folder))) {
        ++found.left_out;
        if (is_folder) walk.disable_recursion_pending();
      } else if (is_folder) {
        std::error_code list_error;
        fs::directory_iterator(at, list_error);
        if (list_error) {
          found.skipped.push_back({"", at.string(), FileError("list", at, list_error.value())});
          found.complete = false;
          walk.disable_recursion_pending();
        } else if (ignore) {
          ignore->Enter(at);
        }
      } else if (entry.is_regular_file(kind_error)) {
        if (!FormatFromPath(at).ok()) {
          ++found.unsupported;
        } else if (!include->empty() && !NamesFile(*include, path)) {
          ++found.left_out;
        } else {
          add(at, path);
        }
      } else if (kind_error) {
        found.skipped.push_back({"", at.string(), FileError("examine", at, kind_error.value())});
      }
      walk.increment(error);
      if (error) {  // ends the walk
        found.skipped.push_back({"", at.string(), FileError("list", at, error.value())});
        found.complete = false;
      }
    }
  }
  std::sort(found.files.begin(), found.files.end(), [](const FoundFile& a, const FoundFile& b) {
    return std::tie(a.source, a.path) < std::tie(b.source, b.path);
  });
  return found;
}

}  // namespace blazon::retrieval
