// Which documents a search or a list looks at.
//
// A condition is written as text:
//
//   year >= 2020 and lang in ("en", "de") and not (draft == true or @path prefix "old/")
//
//   name        a metadata name: letters, digits, '_', '.', '-', not starting with a digit or '-'; any other in
//               backquotes. @path, @source, @title and @id are the document's own
//   value       "text" or 'text' (\ before a quote or a backslash), a number (-2.5e3), true, false, a date (2024-05-31)
//               or a time (2024-05-31T18:00:00Z, +02:00 instead of Z, with or without seconds)
//   comparison  ==, !=, <, <=, >, >= (= is read as ==)
//   set         name in (value, ...), name not in (value, ...)
//   prefix      name prefix "text"
//   existence   name exists
//   joined by   and, or, not and parentheses; not binds closest, then and. These words in any case
//
// Metadata is kept as text. A comparison reads it as what the value is: a number, a date, true or false, or text, which
// is compared byte by byte. It holds only of a document that has the name and whose text reads so; != and not in hold
// of exactly those documents of which == and in do not.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blazon::retrieval {

// A day, or a moment, in seconds since 1970 in UTC; a day is its first second.
struct Date {
  int64_t seconds = 0;
  friend auto operator<=>(const Date&, const Date&) = default;
};

using FilterValue = std::variant<std::string, double, bool, Date>;

struct Condition {
  enum class Kind { kAnd, kOr, kNot, kEqual, kLess, kLessOrEqual, kGreater, kGreaterOrEqual, kIn, kPrefix, kExists };
  Kind kind = Kind::kAnd;
  std::vector<Condition> parts;     // of kAnd and kOr, any number (none: true and false); of kNot, one
  std::string name;                 // of the others
  std::vector<FilterValue> values;  // kIn: any number; kExists: none; the others: one, text with kPrefix
};

inline constexpr size_t kMaxConditionBytes = 64u << 10;
inline constexpr int kMaxConditionDepth = 32;    // on the wire each level is two messages, of which protobuf reads 100
inline constexpr int kMaxConditionParts = 4096;  // conditions and values in all

// kInvalidArgument names the place and what was expected there.
absl::StatusOr<Condition> ParseCondition(std::string_view text);

// Names, numbers of values and parts, depth and size are what they must be; kInvalidArgument says what is not.
absl::Status CheckCondition(const Condition& condition);

// Text that parses to a condition that holds of the same documents; equal conditions have equal text.
std::string ConditionText(const Condition& condition);

// What text reads as; nullopt when it does not, as a whole.
std::optional<double> ReadNumber(std::string_view text);
std::optional<Date> ReadDate(std::string_view text);
std::string DateText(Date date);  // 2024-05-31T18:00:00Z

// All of its parts must hold.
struct Filter {
  std::string source;                           // of exactly this source; empty: any
  std::string path_prefix;                      // whose path starts so; empty: any
  std::vector<std::string> document_ids;        // one of these; empty: any
  std::map<std::string, std::string> metadata;  // that carry all of these
  std::optional<Condition> where;
  bool empty() const {
    return source.empty() && path_prefix.empty() && document_ids.empty() && metadata.empty() && !where;
  }
};

// The whole filter as one condition.
Condition AsCondition(const Filter& filter);

}  // namespace blazon::retrieval
