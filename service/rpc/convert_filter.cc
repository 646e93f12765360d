#include "service/rpc/convert_filter.h"

#include "absl/strings/str_cat.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

using Kind = retrieval::Condition::Kind;

absl::StatusOr<retrieval::FilterValue> ToValue(const v1::FilterValue& value) {
  switch (value.value_case()) {
    case v1::FilterValue::kText:
      return retrieval::FilterValue(value.text());
    case v1::FilterValue::kNumber:
      return retrieval::FilterValue(value.number());
    case v1::FilterValue::kTruth:
      return retrieval::FilterValue(value.truth());
    case v1::FilterValue::kDate: {
      const std::optional<retrieval::Date> date = retrieval::ReadDate(value.date());
      if (date) return retrieval::FilterValue(*date);
      return FieldError("filter.where", "has a date that is neither like 2024-05-31 nor like 2024-05-31T18:00:00Z");
    }
    case v1::FilterValue::VALUE_NOT_SET:
      break;
  }
  return FieldError("filter.where", "has a value that is not set");
}

absl::StatusOr<retrieval::Condition> ToCondition(const v1::Condition& condition, int depth);

absl::StatusOr<retrieval::Condition> ToJoined(const v1::ConditionList& list, Kind kind, int depth) {
  retrieval::Condition joined{kind, {}, "", {}};
  for (const v1::Condition& part : list.conditions()) {
    absl::StatusOr<retrieval::Condition> converted = ToCondition(part, depth + 1);
    if (!converted.ok()) return converted;
    joined.parts.push_back(*std::move(converted));
  }
  return joined;
}

retrieval::Condition Not(retrieval::Condition condition) {
  retrieval::Condition result{Kind::kNot, {}, "", {}};
  result.parts.push_back(std::move(condition));
  return result;
}

absl::StatusOr<retrieval::Condition> ToComparison(const v1::FieldCondition& field) {
  absl::StatusOr<retrieval::FilterValue> value = ToValue(field.value());
  if (!value.ok()) return value.status();
  retrieval::Condition condition{Kind::kEqual, {}, field.name(), {*std::move(value)}};
  switch (field.comparison()) {
    case v1::COMPARISON_EQUAL:
      return condition;
    case v1::COMPARISON_NOT_EQUAL:
      return Not(std::move(condition));
    case v1::COMPARISON_LESS:
      condition.kind = Kind::kLess;
      return condition;
    case v1::COMPARISON_LESS_OR_EQUAL:
      condition.kind = Kind::kLessOrEqual;
      return condition;
    case v1::COMPARISON_GREATER:
      condition.kind = Kind::kGreater;
      return condition;
    case v1::COMPARISON_GREATER_OR_EQUAL:
      condition.kind = Kind::kGreaterOrEqual;
      return condition;
    case v1::COMPARISON_PREFIX:
      condition.kind = Kind::kPrefix;
      return condition;
    default:
      return FieldError("filter.where",
                        absl::StrCat("compares ", field.name(), " in a way that is not set or unknown"));
  }
}

absl::StatusOr<retrieval::Condition> ToCondition(const v1::Condition& condition, int depth) {
  if (depth > retrieval::kMaxConditionDepth)
    return FieldError("filter.where", absl::StrCat("is nested deeper than ", retrieval::kMaxConditionDepth));
  switch (condition.condition_case()) {
    case v1::Condition::kAll:
      return ToJoined(condition.all(), Kind::kAnd, depth);
    case v1::Condition::kAny:
      return ToJoined(condition.any(), Kind::kOr, depth);
    case v1::Condition::kNegated: {
      absl::StatusOr<retrieval::Condition> inside = ToCondition(condition.negated(), depth + 1);
      if (!inside.ok()) return inside;
      return Not(*std::move(inside));
    }
    case v1::Condition::kField:
      return ToComparison(condition.field());
    case v1::Condition::kIn: {
      retrieval::Condition set{Kind::kIn, {}, condition.in().name(), {}};
      for (const v1::FilterValue& each : condition.in().values()) {
        absl::StatusOr<retrieval::FilterValue> value = ToValue(each);
        if (!value.ok()) return value.status();
        set.values.push_back(*std::move(value));
      }
      return set;
    }
    case v1::Condition::kExists:
      return retrieval::Condition{Kind::kExists, {}, condition.exists(), {}};
    case v1::Condition::CONDITION_NOT_SET:
      break;
  }
  return FieldError("filter.where", "has a condition that is not set");
}

v1::FilterValue ToMessage(const retrieval::FilterValue& value) {
  v1::FilterValue result;
  if (const auto* text = std::get_if<std::string>(&value)) {
    result.set_text(*text);
  } else if (const auto* number = std::get_if<double>(&value)) {
    result.set_number(*number);
  } else if (const auto* truth = std::get_if<bool>(&value)) {
    result.set_truth(*truth);
  } else {
    result.set_date(retrieval::DateText(std::get<retrieval::Date>(value)));
  }
  return result;
}

v1::Comparison ToComparison(Kind kind) {
  switch (kind) {
    case Kind::kLess:
      return v1::COMPARISON_LESS;
    case Kind::kLessOrEqual:
      return v1::COMPARISON_LESS_OR_EQUAL;
    case Kind::kGreater:
      return v1::COMPARISON_GREATER;
    case Kind::kGreaterOrEqual:
      return v1::COMPARISON_GREATER_OR_EQUAL;
    case Kind::kPrefix:
      return v1::COMPARISON_PREFIX;
    default:
      return v1::COMPARISON_EQUAL;
  }
}

}  // namespace

absl::StatusOr<retrieval::Condition> FromProto(const v1::Condition& condition) {
  absl::StatusOr<retrieval::Condition> result = ToCondition(condition, 1);
  if (!result.ok()) return result;
  if (absl::Status status = retrieval::CheckCondition(*result); !status.ok()) return WithField(status, "filter.where");
  return result;
}

v1::Condition ToProto(const retrieval::Condition& condition) {
  v1::Condition result;
  switch (condition.kind) {
    case Kind::kAnd:
    case Kind::kOr: {
      v1::ConditionList& list = condition.kind == Kind::kAnd ? *result.mutable_all() : *result.mutable_any();
      for (const retrieval::Condition& part : condition.parts) *list.add_conditions() = ToProto(part);
      break;
    }
    case Kind::kNot:
      *result.mutable_negated() = ToProto(condition.parts[0]);
      break;
    case Kind::kIn:
      result.mutable_in()->set_name(condition.name);
      for (const retrieval::FilterValue& value : condition.values)
        *result.mutable_in()->add_values() = ToMessage(value);
      break;
    case Kind::kExists:
      result.set_exists(condition.name);
      break;
    default:
      result.mutable_field()->set_name(condition.name);
      result.mutable_field()->set_comparison(ToComparison(condition.kind));
      *result.mutable_field()->mutable_value() = ToMessage(condition.values[0]);
  }
  return result;
}

}  // namespace blazon::service::rpc
