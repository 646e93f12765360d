#include "retrieval/filter.h"

#include <cmath>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"

namespace blazon::retrieval {
namespace {

using Kind = Condition::Kind;

absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(absl::StrCat("the filter ", what)); }

absl::Status Check(const Condition& condition, int depth, int& parts) {
  if (depth > kMaxConditionDepth) return Bad(absl::StrCat("is nested deeper than ", kMaxConditionDepth));
  parts += 1 + static_cast<int>(std::min<size_t>(condition.values.size(), kMaxConditionParts));
  if (parts > kMaxConditionParts)
    return Bad(absl::StrCat("has more than ", kMaxConditionParts, " conditions and values"));
  const bool joins = condition.kind == Kind::kAnd || condition.kind == Kind::kOr || condition.kind == Kind::kNot;
  if (condition.kind == Kind::kNot && condition.parts.size() != 1) return Bad("has a 'not' without its condition");
  if (joins) {
    for (const Condition& part : condition.parts) {
      if (absl::Status status = Check(part, depth + 1, parts); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  if (condition.name.empty()) return Bad("has a condition without a name");
  if (condition.name[0] == '@' && condition.name != "@path" && condition.name != "@source" &&
      condition.name != "@title" && condition.name != "@id")
    return Bad(absl::StrCat("names ", condition.name, "; there are @path, @source, @title and @id"));
  const size_t values = condition.values.size();
  if (condition.kind == Kind::kExists ? values != 0 : condition.kind != Kind::kIn && values != 1)
    return Bad(absl::StrCat("compares ", condition.name, " with ", values, " values"));
  if (condition.kind == Kind::kPrefix && !std::holds_alternative<std::string>(condition.values[0]))
    return Bad(absl::StrCat("wants a prefix of ", condition.name, " that is not text"));
  for (const FilterValue& value : condition.values) {
    if (const double* number = std::get_if<double>(&value); number && !std::isfinite(*number))
      return Bad(absl::StrCat("compares ", condition.name, " with a number that is not finite"));
  }
  return absl::OkStatus();
}

bool IsBareName(std::string_view name) {
  if (name.starts_with('@')) name.remove_prefix(1);
  if (name.empty() || absl::ascii_isdigit(static_cast<unsigned char>(name[0])) || name[0] == '-' || name[0] == '.')
    return false;
  for (const char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.' && c != '-') return false;
  }
  for (const char* word : {"and", "or", "not", "in", "prefix", "exists", "true", "false"}) {
    if (absl::EqualsIgnoreCase(std::string(name), word)) return false;
  }
  return true;
}

std::string Quoted(std::string_view text, char quote) {
  std::string quoted(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + quote;
}

std::string ValueText(const FilterValue& value) {
  if (const std::string* text = std::get_if<std::string>(&value)) return Quoted(*text, '"');
  if (const double* number = std::get_if<double>(&value)) return absl::StrFormat("%.17g", *number);
  if (const bool* truth = std::get_if<bool>(&value)) return *truth ? "true" : "false";
  return DateText(std::get<Date>(value));
}

std::optional<int> Digits(std::string_view& text, size_t count) {
  if (text.size() < count) return std::nullopt;
  int value = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(text[i]))) return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return value;
}

}  // namespace

absl::Status CheckCondition(const Condition& condition) {
  int parts = 0;
  return Check(condition, 1, parts);
}

std::string ConditionText(const Condition& condition) {
  const std::string name = IsBareName(condition.name) ? condition.name : Quoted(condition.name, '`');
  const auto compared = [&](const char* sign) {
    return absl::StrCat(name, " ", sign, " ", ValueText(condition.values[0]));
  };
  switch (condition.kind) {
    case Kind::kAnd:
    case Kind::kOr: {
      std::string text = "(";
      for (const Condition& part : condition.parts) {
        if (text.size() > 1) text += condition.kind == Kind::kAnd ? " and " : " or ";
        text += ConditionText(part);
      }
      if (condition.parts.empty()) text += condition.kind == Kind::kAnd ? "not @id in ()" : "@id in ()";
      return text + ")";
    }
    case Kind::kNot:
      return absl::StrCat("not ", ConditionText(condition.parts[0]));
    case Kind::kEqual:
      return compared("==");
    case Kind::kLess:
      return compared("<");
    case Kind::kLessOrEqual:
      return compared("<=");
    case Kind::kGreater:
      return compared(">");
    case Kind::kGreaterOrEqual:
      return compared(">=");
    case Kind::kPrefix:
      return compared("prefix");
    case Kind::kExists:
      return absl::StrCat(name, " exists");
    case Kind::kIn: {
      std::string text = absl::StrCat(name, " in (");
      for (size_t i = 0; i < condition.values.size(); ++i)
        absl::StrAppend(&text, i > 0 ? ", " : "", ValueText(condition.values[i]));
      return text + ")";
    }
  }
  return "";
}

std::optional<double> ReadNumber(std::string_view text) {
  // absl's reader also takes spaces, "inf" and "nan".
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != std::string_view::npos) return std::nullopt;
  double number;
  if (!absl::SimpleAtod(std::string(text), &number) || !std::isfinite(number)) return std::nullopt;
  return number;
}

std::optional<Date> ReadDate(std::string_view text) {
  const auto take = [&text](char c) {
    if (text.empty() || text[0] != c) return false;
    text.remove_prefix(1);
    return true;
  };
  const std::optional<int> year = Digits(text, 4);
  if (!year || !take('-')) return std::nullopt;
  const std::optional<int> month = Digits(text, 2);
  if (!month || !take('-')) return std::nullopt;
  const std::optional<int> day = Digits(text, 2);
  if (!day) return std::nullopt;
  const absl::CivilDay date(*year, *month, *day);
  if (date.month() != *month || date.day() != *day) return std::nullopt;  // the 31st of June
  Date result{(date - absl::CivilDay(1970, 1, 1)) * 86400};
  if (text.empty()) return result;
  if (!take('T') && !take(' ')) return std::nullopt;
  const std::optional<int> hour = Digits(text, 2);
  if (!hour || *hour > 23 || !take(':')) return std::nullopt;
  const std::optional<int> minute = Digits(text, 2);
  if (!minute || *minute > 59) return std::nullopt;
  result.seconds += *hour * 3600 + *minute * 60;
  if (take(':')) {
    const std::optional<int> second = Digits(text, 2);
    if (!second || *second > 59) return std::nullopt;
    result.seconds += *second;
  }
  if (take('Z')) return text.empty() ? std::optional(result) : std::nullopt;
  const bool east = take('+');
  if (!east && !take('-')) return std::nullopt;
  const std::optional<int> zone_hour = Digits(text, 2);
  if (!zone_hour || *zone_hour > 23 || !take(':')) return std::nullopt;
  const std::optional<int> zone_minute = Digits(text, 2);
  if (!zone_minute || *zone_minute > 59 || !text.empty()) return std::nullopt;
  result.seconds -= (east ? 1 : -1) * (*zone_hour * 3600 + *zone_minute * 60);
  return result;
}

std::string DateText(Date date) {
  const absl::CivilSecond moment = absl::CivilSecond(1970, 1, 1) + date.seconds;
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02dZ", moment.year(), moment.month(), moment.day(), moment.hour(),
                         moment.minute(), moment.second());
}

Condition AsCondition(const Filter& filter) {
  Condition all;
  const auto add = [&all](Kind kind, const std::string& name, std::vector<FilterValue> values) {
    all.parts.push_back({kind, {}, name, std::move(values)});
  };
  if (!filter.source.empty()) add(Kind::kEqual, "@source", {filter.source});
  if (!filter.path_prefix.empty()) add(Kind::kPrefix, "@path", {filter.path_prefix});
  if (!filter.document_ids.empty())
    add(Kind::kIn, "@id", std::vector<FilterValue>(filter.document_ids.begin(), filter.document_ids.end()));
  for (const auto& [name, value] : filter.metadata) add(Kind::kEqual, name, {value});
  if (filter.where) all.parts.push_back(*filter.where);
  return all;
}

}  // namespace blazon::retrieval
