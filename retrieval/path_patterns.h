// Which files of a folder are wanted: patterns as .gitignore has them (gitignore(5) of git 2.39).
//
// A pattern without '/' but at its end goes by the name alone, at any depth; others go by the path from the folder that
// the pattern belongs to. '*' and '?' and classes do not match '/'; "**/", "/**" and "/**/" span folders; a '/' at the
// end stands for folders alone; '!' takes back; the last pattern that matches decides.
// Thread safety: objects are const after they are made.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::retrieval {

// Whether all of `text` fits `pattern`. Time is polynomial, whatever the pattern.
bool GlobMatches(std::string_view pattern, std::string_view text);

enum class Verdict { kNone, kIgnored, kWanted };

class PathPatterns {
 public:
  PathPatterns() = default;
  // The content of a .gitignore file.
  static PathPatterns FromFile(std::string_view content);
  // One pattern an entry, none a comment. kInvalidArgument names an empty one.
  static absl::StatusOr<PathPatterns> FromList(const std::vector<std::string>& patterns);

  // path: relative to the folder of the patterns, with '/' between parts.
  Verdict Judge(std::string_view path, bool is_folder) const;
  bool empty() const { return rules_.empty(); }

 private:
  struct Rule {
    std::string pattern;
    bool wanted = false, folders_only = false, by_name = false;
  };
  void Add(std::string_view line);
  std::vector<Rule> rules_;
};

// The .gitignore files that apply to a folder, from the top of its repository (a folder that has .git) down; without a
// repository its own.
class IgnoreFiles {
 public:
  explicit IgnoreFiles(const std::filesystem::path& root);
  // Enters a folder beneath the root before its content is judged, in the order of a walk: folders that are not above
  // it are left.
  void Enter(const std::filesystem::path& folder);
  bool Ignores(const std::filesystem::path& path, bool is_folder) const;

 private:
  struct Level {
    std::filesystem::path folder;
    PathPatterns patterns;
  };
  void Push(const std::filesystem::path& folder);
  std::vector<Level> levels_;  // outermost first
};

}  // namespace blazon::retrieval
