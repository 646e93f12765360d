#include "service/rpc/convert_retrieval.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "retrieval/given_chunks.h"
#include "service/answer_threshold.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

using Kind = retrieval::Condition::Kind;

constexpr int32_t kMaxReranked = 1000;

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

absl::StatusOr<retrieval::IndexKind> FromProto(v1::IndexKind kind) {
  switch (kind) {
    case v1::INDEX_KIND_UNSPECIFIED:
    case v1::INDEX_KIND_AUTO:
      return retrieval::IndexKind::kAuto;
    case v1::INDEX_KIND_EXACT:
      return retrieval::IndexKind::kExact;
    case v1::INDEX_KIND_HNSW:
      return retrieval::IndexKind::kHnsw;
    case v1::INDEX_KIND_IVF:
      return retrieval::IndexKind::kIvf;
    case v1::INDEX_KIND_IVF_PQ:
      return retrieval::IndexKind::kIvfPq;
    default:
      return FieldError("index", absl::StrCat("is ", static_cast<int>(kind), ", which this server does not know"));
  }
}

v1::IndexKind ToProto(retrieval::IndexKind kind) {
  switch (kind) {
    case retrieval::IndexKind::kAuto:
      return v1::INDEX_KIND_AUTO;
    case retrieval::IndexKind::kExact:
      return v1::INDEX_KIND_EXACT;
    case retrieval::IndexKind::kHnsw:
      return v1::INDEX_KIND_HNSW;
    case retrieval::IndexKind::kIvf:
      return v1::INDEX_KIND_IVF;
    case retrieval::IndexKind::kIvfPq:
      return v1::INDEX_KIND_IVF_PQ;
  }
  return v1::INDEX_KIND_UNSPECIFIED;
}

absl::Status TakeVector(const v1::SearchRequest& request, retrieval::Query& query) {
  if (request.vector().empty()) return absl::OkStatus();
  if (query.mode == retrieval::SearchMode::kWords)
    return FieldError("vector", "is given, and a search by words does not use it");
  if (request.vector_size() > retrieval::kMaxDimension)
    return FieldError("vector",
                      absl::StrCat("has ", request.vector_size(), " numbers; the limit is ", retrieval::kMaxDimension));
  double square = 0;
  for (const float number : request.vector()) square += static_cast<double>(number) * number;
  if (!std::isfinite(square) || square == 0)
    return FieldError("vector", "must have finite numbers that are not all zeros");
  query.vector_is_given = true;
  for (const float number : request.vector()) query.vector.push_back(static_cast<float>(number / std::sqrt(square)));
  return absl::OkStatus();
}

absl::StatusOr<int64_t> RerankDepth(const v1::SearchRequest& request, int64_t count) {
  if (request.rerank() == 0) return 0;
  if (request.rerank() < count || request.rerank() > kMaxReranked) {
    return FieldError("rerank", absl::StrCat("is ", request.rerank(), "; its range is count, which is ", count, ", to ",
                                             kMaxReranked, ", or 0 for none"));
  }
  return request.rerank();
}

v1::ModelIdentity ToIdentity(const Reranker& reranker) {
  v1::ModelIdentity result;
  result.set_name(reranker.name());
  result.set_digest(reranker.digest());
  return result;
}

v1::Collection ToProto(const std::string& name, const retrieval::CollectionStats& stats) {
  v1::Collection result;
  result.set_name(name);
  result.set_documents(static_cast<int32_t>(stats.documents));
  result.set_chunks(static_cast<int32_t>(stats.chunks));
  result.set_embedder(stats.embedder);
  v1::SearchIndex& index = *result.mutable_index();
  index.set_kind(ToProto(stats.index));
  index.set_used(ToProto(stats.used_index));
  index.set_indexed_chunks(static_cast<int32_t>(stats.indexed_vectors));
  index.set_recall_at_10(stats.index_recall);
  if (const auto kept = KeptRefuseBelow(stats); kept.ok() && kept->has_value()) result.set_refuse_below(**kept);
  return result;
}

}  // namespace blazon::service::rpc
