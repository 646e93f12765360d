#include "language/jinja/formatting.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "language/jinja/characters.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language::jinja {
namespace {

std::string Hex(const char* format, int32_t character) {
  char buffer[16];
  std::snprintf(buffer, sizeof(buffer), format, static_cast<unsigned int>(character));
  return buffer;
}

void AppendRepr(Execution& run, const Text& text, Text* result) {
  const bool has_single = text.bytes().find('\'') != std::string::npos;
  const char quote = has_single && text.bytes().find('"') == std::string::npos ? '"' : '\'';
  const std::string_view quote_text(&quote, 1);
  result->Append(quote_text, false);
  for (size_t at = 0; at < text.size() && run.TextFits(result->size());) {
    const size_t begin = at;
    const int32_t character = NextCharacter(text.bytes(), &at);
    std::string escaped;
    if (character == quote || character == '\\') {
      escaped = absl::StrCat("\\", text.bytes().substr(begin, 1));
    } else if (character == '\n') {
      escaped = "\\n";
    } else if (character == '\r') {
      escaped = "\\r";
    } else if (character == '\t') {
      escaped = "\\t";
    } else if (!IsPrintable(character)) {
      escaped = Hex(character < 0x100 ? "\\x%02x" : character < 0x10000 ? "\\u%04x" : "\\U%08x", character);
    } else {
      escaped = text.bytes().substr(begin, at - begin);
    }
    result->Append(escaped, text.IsData(begin));
  }
  result->Append(quote_text, false);
}

void AppendValue(Execution& run, const Value& value, bool quoted, Text* result) {
  if (!run.CountSteps() || !run.TextFits(result->size())) return;
  if (const Text* text = value.AsText()) return quoted ? AppendRepr(run, *text, result) : result->Append(*text);
  if (value.IsUndefined()) return quoted ? result->Append("Undefined", false) : void();
  if (value.Is<None>()) return result->Append("None", false);
  if (value.Is<bool>()) return result->Append(value.As<bool>() ? "True" : "False", false);
  if (value.Is<int64_t>()) return result->Append(absl::StrCat(value.As<int64_t>()), false);
  if (value.Is<double>()) return result->Append(FloatText(value.As<double>()), false);
  if (const Dict* dict = value.AsDict()) {
    result->Append("{", false);
    for (size_t i = 0; i < dict->items.size() && !run.failed(); ++i) {
      if (i > 0) result->Append(", ", false);
      AppendValue(run, dict->items[i].first, true, result);
      result->Append(": ", false);
      AppendValue(run, dict->items[i].second, true, result);
    }
    return result->Append("}", false);
  }
  const Sequence* sequence = value.AsSequence();
  if (sequence == nullptr || sequence->kind == SequenceKind::kRange) {
    run.Refuse(absl::StrCat("a ", std::string(value.TypeName()), " put out as text"));
    return;
  }
  const bool is_tuple = sequence->kind == SequenceKind::kTuple, is_list = sequence->kind == SequenceKind::kList;
  if (!is_tuple && !is_list) result->Append(absl::StrCat(std::string(value.TypeName()), "("), false);
  result->Append(is_tuple ? "(" : "[", false);
  for (size_t i = 0; i < sequence->items.size() && !run.failed(); ++i) {
    if (i > 0) result->Append(", ", false);
    AppendValue(run, sequence->items[i], true, result);
  }
  if (is_tuple && sequence->items.size() == 1) result->Append(",", false);
  result->Append(is_tuple ? ")" : "]", false);
  if (!is_tuple && !is_list) result->Append(")", false);
}

class JsonWriter {
 public:
  JsonWriter(Execution& run, const JsonOptions& options, Text* result)
      : run_(run),
        options_(options),
        result_(*result),
        item_separator_(options.item_separator.value_or(Text(options.indent ? "," : ", ", false))),
        key_separator_(options.key_separator.value_or(Text(": ", false))) {}

  void Write(const Value& value) {
    if (!run_.CountSteps() || !run_.TextFits(result_.size())) return;
    if (const Text* text = value.AsText()) return WriteString(*text);
    if (value.Is<None>() || value.IsNumber()) return Append(Number(value));
    if (const Dict* dict = value.AsDict()) return WriteDict(*dict);
    const Sequence* sequence = value.AsSequence();
    if (sequence == nullptr || (sequence->kind != SequenceKind::kList && sequence->kind != SequenceKind::kTuple)) {
      run_.Fail(absl::StrCat("a value of type ", std::string(value.TypeName()), " cannot be written as JSON"));
      return;
    }
    if (sequence->items.empty()) return Append("[]");
    Append("[");
    ++level_;
    for (size_t i = 0; i < sequence->items.size() && !run_.failed(); ++i) {
      if (i > 0) result_.Append(item_separator_);
      NewLine();
      Write(sequence->items[i]);
    }
    --level_;
    NewLine();
    Append("]");
  }

 private:
  void Append(std::string_view text) { result_.Append(text, false); }

  // None, true, false and numbers.
  static std::string Number(const Value& value) {
    if (value.Is<None>()) return "null";
    if (value.Is<bool>()) return value.As<bool>() ? "true" : "false";
    if (value.Is<int64_t>()) return absl::StrCat(value.As<int64_t>());
    if (std::isnan(value.As<double>())) return "NaN";
    if (std::isinf(value.As<double>())) return value.As<double>() < 0 ? "-Infinity" : "Infinity";
    return FloatText(value.As<double>());
  }

  void NewLine() {
    if (!options_.indent) return;
    Append("\n");
    for (int i = 0; i < level_ && run_.TextFits(result_.size()); ++i) result_.Append(*options_.indent);
  }

  void WriteDict(const Dict& dict) {
    if (dict.items.empty()) return Append("{}");
    std::vector<std::pair<Text, const Value*>> items;
    bool all_text = true;
    for (const auto& [key, value] : dict.items) {
      if (key.AsText() != nullptr) {
        items.emplace_back(*key.AsText(), &value);
      } else if (key.Is<None>() || key.IsNumber()) {
        items.emplace_back(Text(Number(key), false), &value);
        all_text = false;
      } else {
        run_.Fail("a key of JSON must be a string, number, true, false or none");
        return;
      }
    }
    if (options_.sort_keys) {
      if (!all_text) {
        run_.Refuse("tojson(sort_keys=true) with keys that are not strings");
        return;
      }
      std::stable_sort(items.begin(), items.end(),
                       [](const auto& a, const auto& b) { return a.first.bytes() < b.first.bytes(); });
    }
    Append("{");
    ++level_;
    for (size_t i = 0; i < items.size() && !run_.failed(); ++i) {
      if (i > 0) result_.Append(item_separator_);
      NewLine();
      WriteString(items[i].first);
      result_.Append(key_separator_);
      Write(*items[i].second);
    }
    --level_;
    NewLine();
    Append("}");
  }

  void WriteString(const Text& text) {
    Append("\"");
    for (size_t at = 0; at < text.size() && run_.TextFits(result_.size());) {
      const size_t begin = at;
      const int32_t character = NextCharacter(text.bytes(), &at);
      result_.Append(Escaped(text.bytes().substr(begin, at - begin), character), text.IsData(begin));
    }
    Append("\"");
  }

  std::string Escaped(std::string spelling, int32_t character) const {
    constexpr std::string_view kNamed = "\"\\\n\r\t\f\b";
    constexpr std::string_view kLetters = "\"\\nrtfb";
    if (character < 0x80) {
      const size_t named = kNamed.find(static_cast<char>(character));
      if (named != std::string_view::npos) return absl::StrCat("\\", std::string(kLetters.substr(named, 1)));
    }
    if (character < 0x20) return Hex("\\u%04x", character);
    if (!options_.ensure_ascii || character < 0x7F) return spelling;
    if (character < 0x10000) return Hex("\\u%04x", character);
    const int32_t offset = character - 0x10000;
    return Hex("\\u%04x", 0xD800 + (offset >> 10)) + Hex("\\u%04x", 0xDC00 + (offset & 0x3FF));
  }

  Execution& run_;
  const JsonOptions& options_;
  Text& result_;
  const Text item_separator_, key_separator_;
  int level_ = 0;
};

}  // namespace

void AppendStr(Execution& run, const Value& value, Text* result) { AppendValue(run, value, /*quoted=*/false, result); }

TextPtr Str(Execution& run, const Value& value) {
  if (value.Is<TextPtr>()) return value.As<TextPtr>();
  Text text;
  AppendStr(run, value, &text);
  run.MayMakeText(text.size());
  return std::make_shared<const Text>(std::move(text));
}

void AppendJson(Execution& run, const Value& value, const JsonOptions& options, Text* result) {
  JsonWriter(run, options, result).Write(value);
  run.MayMakeText(result->size());
}

}  // namespace blazon::language::jinja
