#include "retrieval/filter_evaluator.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"

namespace blazon::retrieval {
namespace {

using Kind = Condition::Kind;
using Keys = std::vector<int64_t>;

template <typename Value>
bool CompareAs(Kind kind, const Value& stored, const Value& wanted) {
  switch (kind) {
    case Kind::kLess:
      return stored < wanted;
    case Kind::kLessOrEqual:
      return stored <= wanted;
    case Kind::kGreater:
      return stored > wanted;
    case Kind::kGreaterOrEqual:
      return stored >= wanted;
    default:
      return stored == wanted;
  }
}

bool Holds(Kind kind, const std::string& stored, const FilterValue& value) {
  if (const std::string* text = std::get_if<std::string>(&value))
    return kind == Kind::kPrefix ? absl::StartsWith(stored, *text) : CompareAs(kind, stored, *text);
  if (const double* number = std::get_if<double>(&value)) {
    const std::optional<double> read = ReadNumber(stored);
    return read && CompareAs(kind, *read, *number);
  }
  if (const bool* truth = std::get_if<bool>(&value))
    return (stored == "true" || stored == "false") && CompareAs(kind, stored == "true", *truth);
  const std::optional<Date> read = ReadDate(stored);
  return read && CompareAs(kind, *read, std::get<Date>(value));
}

class Evaluator {
 public:
  explicit Evaluator(Database& database) : database_(database) {}

  absl::StatusOr<Keys> Evaluate(const Condition& condition) {
    switch (condition.kind) {
      case Kind::kAnd:
      case Kind::kOr:
        return Joined(condition);
      case Kind::kNot: {
        absl::StatusOr<Keys> inside = Evaluate(condition.parts[0]);
        if (!inside.ok()) return inside;
        const Keys* all = All();
        if (!all) return status_;
        Keys outside;
        std::set_difference(all->begin(), all->end(), inside->begin(), inside->end(), std::back_inserter(outside));
        return outside;
      }
      case Kind::kEqual:
      case Kind::kIn:
        return OneOf(condition);
      default:
        return Scan(condition.name, [&condition](const std::string& stored) {
          return condition.kind == Kind::kExists || Holds(condition.kind, stored, condition.values[0]);
        });
    }
  }

 private:
  absl::StatusOr<Keys> Joined(const Condition& condition) {
    const bool all_of = condition.kind == Kind::kAnd;
    if (condition.parts.empty()) {
      if (!all_of) return Keys();
      const Keys* all = All();
      return all ? absl::StatusOr<Keys>(*all) : status_;
    }
    absl::StatusOr<Keys> result = Evaluate(condition.parts[0]);
    for (size_t i = 1; result.ok() && i < condition.parts.size(); ++i) {
      if (all_of && result->empty()) break;
      absl::StatusOr<Keys> next = Evaluate(condition.parts[i]);
      if (!next.ok()) return next;
      Keys joined;
      if (all_of) {
        std::set_intersection(result->begin(), result->end(), next->begin(), next->end(), std::back_inserter(joined));
      } else {
        std::set_union(result->begin(), result->end(), next->begin(), next->end(), std::back_inserter(joined));
      }
      result = std::move(joined);
    }
    return result;
  }

  // Text is looked up, what must be read as something else is scanned for.
  absl::StatusOr<Keys> OneOf(const Condition& condition) {
    Keys keys;
    bool scan = false;
    for (const FilterValue& value : condition.values) {
      const std::string* text = std::get_if<std::string>(&value);
      if (!text) {
        scan = true;
        continue;
      }
      Rows rows = condition.name == "@id"       ? database_.Query("SELECT key FROM documents WHERE id = ?", *text)
                  : condition.name == "@source" ? database_.Query("SELECT key FROM documents WHERE source = ?", *text)
                  : condition.name == "@path"   ? database_.Query("SELECT key FROM documents WHERE path = ?", *text)
                  : condition.name == "@title"
                      ? database_.Query("SELECT key FROM documents WHERE title = ?", *text)
                      : database_.Query("SELECT document FROM document_metadata WHERE name = ? AND value = ?",
                                        condition.name, *text);
      while (rows.Next()) keys.push_back(rows.Int(0));
      if (!rows.status().ok()) return rows.status();
    }
    if (scan) {
      absl::StatusOr<Keys> read = Scan(condition.name, [&condition](const std::string& stored) {
        return std::any_of(condition.values.begin(), condition.values.end(), [&stored](const FilterValue& value) {
          return !std::holds_alternative<std::string>(value) && Holds(Kind::kEqual, stored, value);
        });
      });
      if (!read.ok()) return read;
      keys.insert(keys.end(), read->begin(), read->end());
    }
    return Sorted(std::move(keys));
  }

  template <typename Test>
  absl::StatusOr<Keys> Scan(const std::string& name, const Test& test) {
    Keys keys;
    Rows rows = name == "@id"       ? database_.Query("SELECT key, id FROM documents")
                : name == "@source" ? database_.Query("SELECT key, source FROM documents")
                : name == "@path"   ? database_.Query("SELECT key, path FROM documents")
                : name == "@title"
                    ? database_.Query("SELECT key, title FROM documents")
                    : database_.Query("SELECT document, value FROM document_metadata WHERE name = ?", name);
    while (rows.Next()) {
      if (test(rows.Text(1))) keys.push_back(rows.Int(0));
    }
    if (!rows.status().ok()) return rows.status();
    return Sorted(std::move(keys));
  }

  static Keys Sorted(Keys keys) {
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    return keys;
  }

  const Keys* All() {  // null after an error, which status_ holds
    if (have_all_) return &all_;
    Rows rows = database_.Query("SELECT key FROM documents");
    while (rows.Next()) all_.push_back(rows.Int(0));
    status_ = rows.status();
    if (!status_.ok()) return nullptr;
    all_ = Sorted(std::move(all_));
    have_all_ = true;
    return &all_;
  }

  Database& database_;
  Keys all_;
  bool have_all_ = false;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::vector<int64_t>> MatchingDocuments(Database& database, const Condition& condition) {
  if (absl::Status status = CheckCondition(condition); !status.ok()) return status;
  return Evaluator(database).Evaluate(condition);
}

absl::StatusOr<std::vector<int64_t>> ChunksOfDocuments(Database& database, absl::Span<const int64_t> keys) {
  std::vector<int64_t> ids;
  if (keys.size() < 1000) {
    for (const int64_t key : keys) {
      Rows rows = database.Query("SELECT id FROM chunks WHERE document = ?", key);
      while (rows.Next()) ids.push_back(rows.Int(0));
      if (!rows.status().ok()) return rows.status();
    }
  } else {  // one pass over the index by document, beside the keys
    Rows rows = database.Query("SELECT document, id FROM chunks ORDER BY document");
    const int64_t* key = keys.begin();
    while (rows.Next()) {
      while (key != keys.end() && *key < rows.Int(0)) ++key;
      if (key != keys.end() && *key == rows.Int(0)) ids.push_back(rows.Int(1));
    }
    if (!rows.status().ok()) return rows.status();
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace blazon::retrieval
