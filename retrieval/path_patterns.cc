#include "retrieval/path_patterns.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/status/status.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNowhere = std::string_view::npos;
constexpr std::streamsize kMaxIgnoreFileBytes = 1 << 20;

bool InNamedClass(std::string_view name, unsigned char c) {
  if (name == "alpha") return std::isalpha(c);
  if (name == "digit") return std::isdigit(c);
  if (name == "alnum") return std::isalnum(c);
  if (name == "upper") return std::isupper(c);
  if (name == "lower") return std::islower(c);
  if (name == "space") return std::isspace(c);
  if (name == "blank") return c == ' ' || c == '\t';
  if (name == "punct") return std::ispunct(c);
  if (name == "print") return std::isprint(c);
  if (name == "graph") return std::isgraph(c);
  if (name == "cntrl") return std::iscntrl(c);
  if (name == "xdigit") return std::isxdigit(c);
  return false;
}

// Matches the class that starts at pattern[at], a '[', and sets `at` behind it. An unfinished one matches nothing.
bool ClassMatches(std::string_view pattern, size_t& at, unsigned char c) {
  size_t i = at + 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  bool found = false;
  for (bool first = true;; first = false) {
    if (i >= pattern.size()) {
      at = kNowhere;
      return false;
    }
    if (pattern[i] == ']' && !first) break;
    if (pattern[i] == '[' && i + 1 < pattern.size() && pattern[i + 1] == ':') {
      if (const size_t end = pattern.find(":]", i + 2); end != kNowhere) {
        found |= InNamedClass(pattern.substr(i + 2, end - i - 2), c);
        i = end + 2;
        continue;
      }
    }
    if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
    const auto low = static_cast<unsigned char>(pattern[i++]);
    auto high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      ++i;
      if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
      high = static_cast<unsigned char>(pattern[i++]);
    }
    found |= low <= c && c <= high;
  }
  at = i + 1;
  return found != negated && c != '/';
}

// Matches what stands at pattern[at], no star, with one character, and sets `at` behind it.
bool OneMatches(std::string_view pattern, size_t& at, char c) {
  switch (pattern[at]) {
    case '?':
      ++at;
      return c != '/';
    case '[':
      return ClassMatches(pattern, at, static_cast<unsigned char>(c));
    case '\\':
      if (at + 1 == pattern.size()) return false;
      ++at;
      [[fallthrough]];
    default:
      return pattern[at++] == c;
  }
}

bool Contains(const fs::path& folder, const fs::path& path) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

}  // namespace

// When a part does not fit, the last star takes one character more, and where that cannot be, the last "**/" one folder
// more; stars before those need not be tried again.
bool GlobMatches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  size_t star_p = kNowhere, star_t = 0;  // behind the last star, and what it has taken so far
  size_t deep_p = kNowhere, deep_t = 0;  // the same for "**/"
  while (t < text.size()) {
    if (p != kNowhere && p < pattern.size()) {
      if (pattern[p] == '*') {
        size_t end = p;
        while (end < pattern.size() && pattern[end] == '*') ++end;
        const bool alone = (p == 0 || pattern[p - 1] == '/') && (end == pattern.size() || pattern[end] == '/');
        if (end - p >= 2 && alone) {
          if (end == pattern.size()) return true;
          deep_p = p = end + 1;
          deep_t = t;
          star_p = kNowhere;
        } else {
          star_p = p = end;
          star_t = t;
        }
        continue;
      }
      if (OneMatches(pattern, p, text[t])) {
        ++t;
        continue;
      }
    }
    if (star_p != kNowhere && text[star_t] != '/') {
      t = ++star_t;
      p = star_p;
    } else if (deep_p != kNowhere) {
      const size_t slash = text.find('/', deep_t);
      if (slash == kNowhere) return false;
      t = deep_t = slash + 1;
      p = deep_p;
      star_p = kNowhere;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

void PathPatterns::Add(std::string_view line) {
  Rule rule;
  if (line.starts_with('!')) {
    rule.wanted = true;
    line.remove_prefix(1);
  }
  if (line.ends_with('/')) {
    rule.folders_only = true;
    line.remove_suffix(1);
  }
  rule.by_name = line.find('/') == kNowhere;
  if (line.starts_with('/')) line.remove_prefix(1);
  if (line.empty()) return;
  rule.pattern = line;
  rules_.push_back(std::move(rule));
}

PathPatterns PathPatterns::FromFile(std::string_view content) {
  PathPatterns patterns;
  if (content.starts_with("\xef\xbb\xbf")) content.remove_prefix(3);
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size());
    std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    while (line.ends_with(' ') && !line.ends_with("\\ ")) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with('#')) patterns.Add(line);
  }
  return patterns;
}

absl::StatusOr<PathPatterns> PathPatterns::FromList(const std::vector<std::string>& list) {
  PathPatterns patterns;
  for (const std::string& pattern : list) {
    if (pattern.empty() || pattern == "/" || pattern == "!")
      return absl::InvalidArgumentError("a pattern is empty; give one such as '*.md' or 'drafts/'");
    patterns.Add(pattern);
  }
  return patterns;
}

Verdict PathPatterns::Judge(std::string_view path, bool is_folder) const {
  const size_t slash = path.rfind('/');
  const std::string_view name = slash == kNowhere ? path : path.substr(slash + 1);
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (rule->folders_only && !is_folder) continue;
    bool fits;
    if (rule->by_name) {
      fits = GlobMatches(rule->pattern, name);
    } else {  // git takes off what has no wildcard first, so that "a**/b" is 'a' and then any folders
      const size_t literal = std::min(rule->pattern.find_first_of("*?[\\"), rule->pattern.size());
      fits = path.starts_with(std::string_view(rule->pattern).substr(0, literal)) &&
             GlobMatches(std::string_view(rule->pattern).substr(literal), path.substr(literal));
    }
    if (fits) return rule->wanted ? Verdict::kWanted : Verdict::kIgnored;
  }
  return Verdict::kNone;
}

IgnoreFiles::IgnoreFiles(const fs::path& root) {
  std::error_code error;
  std::vector<fs::path> above;  // innermost first
  for (fs::path folder = root;; folder = folder.parent_path()) {
    above.push_back(folder);
    if (fs::exists(folder / ".git", error)) break;
    if (folder == folder.parent_path()) {  // no repository
      above = {root};
      break;
    }
  }
  for (auto folder = above.rbegin(); folder != above.rend(); ++folder) Push(*folder);
}

void IgnoreFiles::Push(const fs::path& folder) {
  std::ifstream file(folder / ".gitignore", std::ios::binary);
  std::string content;
  if (file) {
    content.resize(static_cast<size_t>(kMaxIgnoreFileBytes));
    file.read(content.data(), kMaxIgnoreFileBytes);
    content.resize(static_cast<size_t>(std::max<std::streamsize>(0, file.gcount())));
  }
  levels_.push_back({folder, PathPatterns::FromFile(content)});
}

void IgnoreFiles::Enter(const fs::path& folder) {
  while (!levels_.empty() && (!Contains(levels_.back().folder, folder) || levels_.back().folder == folder))
    levels_.pop_back();
  Push(folder);
}

bool IgnoreFiles::Ignores(const fs::path& path, bool is_folder) const {
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
    if (level->patterns.empty() || !Contains(level->folder, path)) continue;
    const Verdict verdict = level->patterns.Judge(path.lexically_relative(level->folder).generic_string(), is_folder);
    if (verdict != Verdict::kNone) return verdict == Verdict::kIgnored;
  }
  return false;
}

}  // namespace blazon::retrieval
