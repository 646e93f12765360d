// Program sources: the text as it stands, with classes and functions as headings, found by how their first lines begin.
#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>

#include "absl/strings/ascii.h"
#include "retrieval/format_loaders.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || (c & 0x80) != 0;
}

template <size_t count>
bool IsOneOf(std::string_view word, const std::array<std::string_view, count>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Words that come before the one that says what is defined.
constexpr std::array<std::string_view, 27> kModifiers = {
    "export", "default",   "public", "private", "protected", "internal", "static",   "final", "abstract",
    "async",  "pub",       "open",   "sealed",  "data",      "override", "virtual",  "const", "inline",
    "unsafe", "constexpr", "extern", "local",   "partial",   "suspend",  "readonly", "case",  "mutating"};
// Words that say it, with the name behind them.
constexpr std::array<std::string_view, 22> kDefiners = {
    "class",    "struct",    "interface", "enum",    "trait",  "impl",   "fn",     "func",
    "function", "def",       "fun",       "sub",     "module", "object", "record", "union",
    "protocol", "defmodule", "extension", "message", "defp",   "service"};
// Words before a parenthesis that are no names of functions.
constexpr std::array<std::string_view, 18> kControl = {"if",    "for",  "while",  "switch", "catch",   "return",
                                                       "else",  "do",   "sizeof", "using",  "typedef", "new",
                                                       "throw", "elif", "and",    "delete", "not",     "foreach"};

// How a language's functions begin, where no word like "def" says it.
enum class Functions {
  kByWord,   // always with a word
  kByBrace,  // name, parentheses, and a brace at the line's end
  kByType,   // also with the brace on the next line: C, C++
};

Functions FunctionsOf(std::string_view path) {
  const std::string ending = absl::AsciiStrToLower(std::filesystem::path(std::string(path)).extension().string());
  for (const char* one : {".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".cu"}) {
    if (ending == one) return Functions::kByType;
  }
  for (const char* one : {".java", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".php", ".cs", ".m", ".sh", ".bash"}) {
    if (ending == one) return Functions::kByBrace;
  }
  return Functions::kByWord;
}

// The name at the start of `text`, "a::b" and "a.b" included.
std::string_view LeadingName(std::string_view text) {
  size_t end = 0;
  while (end < text.size() &&
         (IsNameByte(text[end]) || ((text[end] == ':' || text[end] == '.') && end + 1 < text.size() &&
                                    (IsNameByte(text[end + 1]) || text[end + 1] == ':'))))
    ++end;
  return text.substr(0, end);
}

// "int Foo::Bar(int x) {" defines Foo::Bar, "if (x) {" nothing. `line` has no indentation.
std::string_view FunctionByParentheses(std::string_view line, bool indented, Functions functions) {
  const size_t open = line.find('(');
  if (open == std::string_view::npos || open == 0 || line.back() == ';' || line.back() == ',') return "";
  if (functions == Functions::kByWord) return "";
  if ((indented || functions == Functions::kByBrace) && line.back() != '{') return "";
  const std::string_view before = StripWhitespace(line.substr(0, open));
  if (before.find_first_of("=\"'#;") != std::string_view::npos) return "";
  size_t begin = before.size();
  while (begin > 0 && (IsNameByte(before[begin - 1]) || before[begin - 1] == ':' || before[begin - 1] == '~')) --begin;
  const std::string_view name = before.substr(begin);
  const std::string_view first = LeadingName(before);
  if (name.empty() || absl::ascii_isdigit(static_cast<unsigned char>(name[0])) || IsOneOf(name, kControl) ||
      IsOneOf(first, kControl))
    return "";
  // A call stands alone; a definition has a type before its name, or its body behind it.
  const bool typed = !StripWhitespace(before.substr(0, begin)).empty();
  return typed || line.back() == '{' ? name : "";
}

// What the line defines; empty when nothing. `line` has no white space at its ends.
std::string DefinedName(std::string_view line, bool indented, Functions functions) {
  std::string_view rest = line;
  while (true) {
    size_t end = 0;
    while (end < rest.size() && IsNameByte(rest[end])) ++end;
    const std::string_view word = rest.substr(0, end);
    if (IsOneOf(word, kDefiners) && end < rest.size() && (rest[end] == ' ' || rest[end] == '<' || rest[end] == '*')) {
      std::string_view behind = StripWhitespace(rest.substr(end));
      if (behind.starts_with('<')) {  // impl<T> Name
        const size_t close = behind.find('>');
        behind = close == std::string_view::npos ? "" : StripWhitespace(behind.substr(close + 1));
      }
      if (behind.starts_with('(') && word == "func") {  // Go's receiver
        const size_t close = behind.find(')');
        behind = close == std::string_view::npos ? "" : StripWhitespace(behind.substr(close + 1));
      }
      const std::string_view name = LeadingName(behind);
      const bool declares_only = line.back() == ';';
      if (!name.empty() && !declares_only && name != "class") return std::string(name);
      if (word == "enum" && behind.starts_with("class "))
        return std::string(LeadingName(StripWhitespace(behind.substr(6))));
      return "";
    }
    if (!IsOneOf(word, kModifiers) || end == rest.size()) break;
    rest = StripWhitespace(rest.substr(end));
  }
  return std::string(FunctionByParentheses(line, indented, functions));
}

bool IsComment(std::string_view line) {
  for (const std::string_view start : {"//", "#", "/*", "*", "@", "--", ";;", "template"}) {
    if (line.starts_with(start)) return !line.starts_with("#include") && !line.starts_with("#define");
  }
  return false;
}

}  // namespace

absl::Status LoadSource(std::string_view source, std::string_view path, Document& document) {
  document.text = std::string(source);
  document.source_map.push_back({0, 0, source.size()});
  document.title = std::filesystem::path(std::string(path)).filename().string();
  const Functions functions = FunctionsOf(path);
  struct Open {
    size_t indent;
    std::string name;
  };
  std::vector<Open> open;
  const auto start_section = [&](size_t begin) {
    std::vector<std::string> headings;
    for (const Open& one : open) headings.push_back(one.name);
    if (!document.sections.empty() && document.sections.back().begin == begin) document.sections.pop_back();
    document.sections.push_back({begin, std::move(headings), false});
  };
  size_t comment_begin = std::string_view::npos;  // of the comment lines right before
  for (size_t begin = 0; begin < source.size();) {
    const size_t end = std::min(source.find('\n', begin), source.size());
    const std::string_view line = source.substr(begin, end - begin);
    const std::string_view text = StripWhitespace(line);
    if (text.empty()) {
      comment_begin = std::string_view::npos;
    } else if (IsComment(text)) {
      if (comment_begin == std::string_view::npos) comment_begin = begin;
    } else {
      const size_t indent = line.find_first_not_of(" \t");
      const bool closes = text[0] == '}' || text[0] == ')' || text[0] == ']' || text[0] == '{' || text == "end" ||
                          text.starts_with("end ") || text.ends_with(':');
      std::string name = DefinedName(text, indent > 0, functions);
      const size_t section_begin = comment_begin == std::string_view::npos ? begin : comment_begin;
      if (!name.empty() || !closes) {
        bool ended = false;
        while (!open.empty() && indent <= open.back().indent) {
          open.pop_back();
          ended = true;
        }
        if (!name.empty()) open.push_back({indent, std::move(name)});
        if (ended || (!open.empty() && open.back().indent == indent)) start_section(section_begin);
      }
      comment_begin = std::string_view::npos;
    }
    begin = end + 1;
  }
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
