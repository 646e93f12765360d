#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/rpc/convert.h"
#include "service/rpc/convert_fields.h"
#include "service/rpc/convert_retrieval.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

constexpr int kMaxFilterIds = 1000;

}  // namespace

absl::StatusOr<retrieval::Query> FromProto(const v1::SearchRequest& request) {
  if (request.query().empty()) return FieldError("query", "is empty; say what to look for");
  if (absl::Status status = CheckLength("query", request.query().size(), kMaxQuestionBytes); !status.ok())
    return status;
  retrieval::Query query;
  query.text = request.query();
  if (request.has_count()) query.count = request.count();
  if (query.count < 1 || query.count > 1000)
    return FieldError("count", absl::StrCat("is ", query.count, "; its range is 1 to 1000"));
  switch (request.mode()) {
    case v1::SEARCH_MODE_UNSPECIFIED:
    case v1::SEARCH_MODE_HYBRID:
      query.mode = retrieval::SearchMode::kBoth;
      break;
    case v1::SEARCH_MODE_LEXICAL:
      query.mode = retrieval::SearchMode::kWords;
      break;
    case v1::SEARCH_MODE_VECTOR:
      query.mode = retrieval::SearchMode::kMeaning;
      break;
    default:
      return FieldError("mode",
                        absl::StrCat("is ", static_cast<int>(request.mode()), ", which this server does not know"));
  }
  query.max_per_document = request.max_per_document();
  if (query.max_per_document < 0) return FieldError("max_per_document", "is below 0");
  query.neighbours = request.neighbours();
  if (query.neighbours < 0 || query.neighbours > retrieval::kMaxNeighbours)
    return FieldError("neighbours",
                      absl::StrCat("is ", query.neighbours, "; its range is 0 to ", retrieval::kMaxNeighbours));
  switch (request.fusion()) {
    case v1::FUSION_UNSPECIFIED:
    case v1::FUSION_WEIGHTED_SUM:
      query.fusion = retrieval::Fusion::kWeightedSum;
      break;
    case v1::FUSION_RECIPROCAL_RANK:
      query.fusion = retrieval::Fusion::kReciprocalRank;
      break;
    default:
      return FieldError("fusion",
                        absl::StrCat("is ", static_cast<int>(request.fusion()), ", which this server does not know"));
  }
  if (request.has_word_weight()) query.word_weight = request.word_weight();
  if (!(query.word_weight >= 0 && query.word_weight <= 1))
    return FieldError("word_weight", absl::StrCat("is ", query.word_weight, "; its range is 0 to 1"));
  if (request.has_word_weight() &&
      (query.mode != retrieval::SearchMode::kBoth || query.fusion != retrieval::Fusion::kWeightedSum))
    return FieldError("word_weight", "is given, but only the weighted sum of a hybrid search has weights");
  if (absl::Status status = TakeVector(request, query); !status.ok()) return status;
  auto filter = FromProto(request.filter());
  if (!filter.ok()) return filter.status();
  query.filter = *std::move(filter);
  return query;
}

absl::StatusOr<retrieval::Filter> FromProto(const v1::Filter& filter) {
  if (filter.document_ids_size() > kMaxFilterIds) {
    return FieldError("filter.document_ids",
                      absl::StrCat("has ", filter.document_ids_size(), " entries; the limit is ", kMaxFilterIds));
  }
  retrieval::Filter result;
  result.source = filter.source();
  result.path_prefix = filter.path_prefix();
  result.document_ids.assign(filter.document_ids().begin(), filter.document_ids().end());
  result.metadata.insert(filter.metadata().begin(), filter.metadata().end());
  if (filter.has_where()) {
    absl::StatusOr<retrieval::Condition> where = FromProto(filter.where());
    if (!where.ok()) return where.status();
    result.where = *std::move(where);
  }
  return result;
}

v1::ScoredChunk ToProto(const retrieval::ScoredChunk& chunk) {
  v1::ScoredChunk result;
  result.set_document_id(chunk.document_id);
  result.set_source(chunk.source);
  result.set_path(chunk.path);
  result.set_title(chunk.title);
  result.set_heading_path(chunk.heading_path);
  result.set_begin_byte(Int32(chunk.span.begin));
  result.set_end_byte(Int32(chunk.span.end));
  result.set_line(Int32(chunk.line));
  result.set_text(chunk.text);
  result.set_score(chunk.score);
  result.set_lexical_score(chunk.word_score);
  result.set_vector_score(chunk.cosine);
  result.set_place(chunk.place);
  if (!chunk.box.empty()) {
    result.mutable_box()->set_left(chunk.box.left);
    result.mutable_box()->set_top(chunk.box.top);
    result.mutable_box()->set_width(chunk.box.width);
    result.mutable_box()->set_height(chunk.box.height);
  }
  const auto add = [](const std::vector<retrieval::NeighbourChunk>& chunks, auto& out) {
    for (const retrieval::NeighbourChunk& neighbour : chunks) {
      v1::NeighbourChunk& piece = *out.Add();
      piece.set_begin_byte(Int32(neighbour.span.begin));
      piece.set_end_byte(Int32(neighbour.span.end));
      piece.set_line(Int32(neighbour.line));
      piece.set_text(neighbour.text);
    }
  };
  add(chunk.before, *result.mutable_before());
  add(chunk.after, *result.mutable_after());
  return result;
}

v1::Document ToProto(const retrieval::DocumentInfo& document) {
  v1::Document result;
  result.set_id(document.id);
  result.set_source(document.source);
  result.set_path(document.path);
  result.set_title(document.title);
  result.set_text_bytes(Int32(document.bytes));
  result.set_chunks(Int32(document.chunks));
  result.set_digest(document.content_digest);
  result.set_language(document.language);
  result.mutable_metadata()->insert(document.metadata.begin(), document.metadata.end());
  return result;
}

v1::Document ToProto(const retrieval::Document& document) {
  v1::Document result;
  result.set_id(retrieval::DocumentId(document.source, document.path));
  result.set_source(document.source);
  result.set_path(document.path);
  result.set_title(document.title);
  result.set_text_bytes(Int32(document.text.size()));
  result.set_digest(document.content_digest);
  result.set_language(document.language);
  result.mutable_metadata()->insert(document.metadata.begin(), document.metadata.end());
  return result;
}

v1::PutState ToProto(retrieval::PutOutcome outcome) {
  switch (outcome) {
    case retrieval::PutOutcome::kAdded:
      return v1::PUT_STATE_ADDED;
    case retrieval::PutOutcome::kReplaced:
      return v1::PUT_STATE_REPLACED;
    case retrieval::PutOutcome::kUnchanged:
      return v1::PUT_STATE_UNCHANGED;
  }
  return v1::PUT_STATE_UNSPECIFIED;
}

v1::VerifyCollectionResponse ToProto(const retrieval::VerifyReport& report) {
  v1::VerifyCollectionResponse response;
  for (const retrieval::Damage& damage : report.damage) {
    v1::CollectionDamage& out = *response.add_damage();
    out.set_file(damage.file);
    out.set_description(damage.what);
  }
  response.set_generation(std::max<int64_t>(0, report.generation));
  response.set_documents(static_cast<int32_t>(report.documents));
  response.set_chunks(static_cast<int32_t>(report.chunks));
  response.set_pages(report.pages);
  response.set_segments(static_cast<int32_t>(report.segments));
  response.set_without_checksums(!report.page_checksums);
  return response;
}

v1::SnapshotCollectionResponse ToProto(const retrieval::SnapshotReport& report) {
  v1::SnapshotCollectionResponse response;
  response.set_generation(report.generation);
  response.set_documents(static_cast<int32_t>(report.documents));
  response.set_chunks(static_cast<int32_t>(report.chunks));
  response.set_linked_segments(static_cast<int32_t>(report.linked));
  response.set_copied_segments(static_cast<int32_t>(report.copied));
  return response;
}

v1::PutResult ToProto(const retrieval::SkippedFile& skipped) {
  v1::PutResult result;
  result.set_id(skipped.id);
  result.set_path(skipped.path);
  result.set_state(v1::PUT_STATE_REFUSED);
  *result.mutable_error() = ToRpcStatus(skipped.reason);
  return result;
}

}  // namespace blazon::service::rpc
