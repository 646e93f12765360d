#include "language/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cctype>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/unicode.h"

namespace blazon::language {
namespace {

constexpr uint32_t kMatchLimit = 10'000'000;
constexpr char kWord[] = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

// Rewrites Oniguruma's Ruby syntax as PCRE2's.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Translate() {
    while (position_ < pattern_.size()) {
      const char c = pattern_[position_];
      absl::Status status = absl::OkStatus();
      if (c == '\\') {
        status = Escape(/*in_class=*/false);
      } else if (c == '[') {
        status = Class(/*depth=*/0);
      } else {
        Take();
        // Ruby reads {1,3}+ as a repeated repeat, PCRE2 as a possessive one.
        if (c == '}' && position_ < pattern_.size() && pattern_[position_] == '+') status = Refuse("\"}+\"");
      }
      if (!status.ok()) return status;
    }
    return std::move(out_);
  }

 private:
  void Take() { out_.push_back(pattern_[position_++]); }

  absl::Status Refuse(const std::string& what) const {
    return absl::UnimplementedError(absl::StrCat("the regular expression \"",
                                                 absl::Utf8SafeCHexEscape(std::string(pattern_)), "\" uses ", what,
                                                 ", which Blazon does not read"));
  }

  absl::Status Escape(bool in_class) {
    if (position_ + 1 >= pattern_.size()) {
      Take();
      return absl::OkStatus();  // PCRE2 says what is wrong
    }
    const char c = pattern_[position_ + 1];
    const auto put = [&](const char* inside, bool negated) {
      if (in_class && negated) return Refuse(absl::StrCat("\\", std::string(1, c), " in a class"));
      absl::StrAppend(&out_, in_class ? "" : negated ? "[^" : "[", inside, in_class ? "" : "]");
      position_ += 2;
      return absl::OkStatus();
    };
    switch (c) {
      case 's':
      case 'S':
        absl::StrAppend(&out_, c == 's' ? "\\p" : "\\P", "{White_Space}");
        position_ += 2;
        return absl::OkStatus();
      case 'd':
      case 'D':
        absl::StrAppend(&out_, c == 'd' ? "\\p" : "\\P", "{Nd}");
        position_ += 2;
        return absl::OkStatus();
      case 'w':
      case 'W':
        return put(kWord, c == 'W');
      case 'h':
      case 'H':
        return put("0-9A-Fa-f", c == 'H');
      case 'b':
      case 'B':
        if (!in_class) return Refuse("\\b");
        break;
      case 'u': {
        const std::string digits(pattern_.substr(position_ + 2, 4));
        absl::StrAppend(&out_, "\\x{", digits, "}");
        position_ += 2 + digits.size();
        return absl::OkStatus();
      }
      default:
        break;
    }
    Take();
    Take();
    if (position_ < pattern_.size() && pattern_[position_] == '{') {  // a property's name: \p{L}
      while (position_ < pattern_.size() && out_.back() != '}') Take();
    }
    return absl::OkStatus();
  }

  // A class inside a class is a union: its brackets go.
  absl::Status Class(int depth) {
    if (depth > 8) return Refuse("classes nested deeply");
    const bool negated = position_ + 1 < pattern_.size() && pattern_[position_ + 1] == '^';
    if (depth > 0 && negated) return Refuse("a negated class inside a class");
    if (depth == 0) out_.append(negated ? "[^" : "[");
    position_ += negated ? 2 : 1;
    for (bool first = true; position_ < pattern_.size(); first = false) {
      const char c = pattern_[position_];
      if (c == ']' && !first) {
        ++position_;
        if (depth == 0) out_.push_back(']');
        return absl::OkStatus();
      }
      if (c == '\\') {
        if (absl::Status status = Escape(/*in_class=*/true); !status.ok()) return status;
      } else if (c == '[' && pattern_.substr(position_, 2) == "[:") {
        const size_t end = pattern_.find(":]", position_);
        if (end == std::string_view::npos) return Refuse("\"[:\" without \":]\"");
        out_.append(pattern_.substr(position_, end + 2 - position_));
        position_ = end + 2;
      } else if (c == '[') {
        if (absl::Status status = Class(depth + 1); !status.ok()) return status;
      } else if (pattern_.substr(position_, 2) == "&&") {
        return Refuse("an intersection of classes");
      } else {
        Take();
      }
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "the regular expression \"", absl::Utf8SafeCHexEscape(std::string(pattern_)), "\" has a class without end"));
  }

  const std::string_view pattern_;
  size_t position_ = 0;
  std::string out_;
};

// What one thread needs to match; PCRE2's code itself is shared.
struct MatchState {
  MatchState() : data(pcre2_match_data_create(1, nullptr)), context(pcre2_match_context_create(nullptr)) {
    pcre2_set_match_limit(context, kMatchLimit);
  }
  ~MatchState() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  pcre2_match_data* const data;
  pcre2_match_context* const context;
};

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

absl::StatusOr<Regex> Regex::Create(const Pattern& pattern) {
  Regex regex;
  if (!pattern.regex && !pattern.text.empty()) {
    regex.literal_ = pattern.text;
    return regex;
  }
  const absl::StatusOr<std::string> translated = Translator(pattern.text).Translate();
  if (!translated.ok()) return translated.status();
  regex.code_ = std::make_unique<Code>();
  pcre2_compile_context* const context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Texts are checked before they come here; "^" and "$" see every line, as Ruby's do.
  regex.code_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (regex.code_->code == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof(message));
    return absl::InvalidArgumentError(absl::StrCat("the regular expression \"", absl::Utf8SafeCHexEscape(pattern.text),
                                                   "\" is not understood: ", reinterpret_cast<const char*>(message)));
  }
  pcre2_jit_compile(regex.code_->code, PCRE2_JIT_COMPLETE);  // without machine code it is interpreted, only slower
  return regex;
}

void Regex::Split(std::string_view text, std::vector<TextSpan>* spans) const {
  spans->clear();
  if (text.empty()) {
    spans->push_back({0, 0, false});
    return;
  }
  size_t previous = 0;
  const auto add = [&](size_t begin, size_t end) {
    if (begin > previous) spans->push_back({previous, begin, false});
    spans->push_back({begin, end, true});
    previous = end;
  };
  if (!code_) {
    for (size_t found = text.find(literal_); found != std::string_view::npos; found = text.find(literal_, previous))
      add(found, found + literal_.size());
  } else {
    thread_local MatchState state;
    const auto match = [&](size_t from, uint32_t options) {
      return pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                         PCRE2_NO_UTF_CHECK | options, state.data, state.context);
    };
    const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(state.data);
    std::optional<size_t> last_end;
    for (size_t from = 0; from <= text.size();) {
      int found = match(from, 0);
      if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(from, PCRE2_NO_JIT);  // the interpreter uses the heap
      if (found < 0) break;
      const size_t begin = ends[0], end = ends[1];
      if (begin == end && last_end == end) {  // an empty match just behind a match does not count
        if (from >= text.size()) break;
        from += CharacterLength(text[from]);
        continue;
      }
      add(begin, end);
      last_end = end;
      from = end;
    }
  }
  if (previous < text.size()) spans->push_back({previous, text.size(), false});
}

}  // namespace blazon::language
