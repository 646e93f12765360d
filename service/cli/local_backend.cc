// Commands carried out by this process: the same conversions and the same core as the server's.
#include <deque>
#include <future>
#include <map>
#include <optional>
#include <utility>

#include "retrieval/collection.h"
#include "retrieval/collection_care.h"
#include "retrieval/document_loader.h"
#include "retrieval/indexer.h"
#include "retrieval/sync_plan.h"
#include "service/answer_threshold.h"
#include "service/answerer.h"
#include "service/captioner.h"
#include "service/cli/backend.h"
#include "service/cli/chunk_preview.h"
#include "service/cli/pending.h"
#include "service/picture_describer.h"
#include "service/reranker.h"
#include "service/rpc/convert.h"
#include "service/rpc/convert_retrieval.h"
#include "service/rpc/status.h"
#include "service/text_generator.h"

namespace blazon::service::cli {
namespace {

constexpr size_t kCaptionsUnderWay = 8;

class GenerateSink : public language::TextSink {
 public:
  bool OnText(std::string_view text) override {
    text_ += text;
    return pending.Add(text);
  }
  bool OnReasoning(int64_t index, std::string_view text) override {
    return index == 0 ? pending.AddReasoning(text) : !Interrupted();
  }
  void OnDone(const absl::StatusOr<language::GenerationResult>& result) override {
    if (!result.ok()) return pending.Finish(result.status());
    pending.Finish(GeneratedText{std::move(text_), *result});
  }
  Pending<GeneratedText> pending;

 private:
  std::string text_;
};

class CaptionToPending : public CaptionSink {
 public:
  bool OnLabels(const std::vector<CaptionLabel>&) override { return !Interrupted(); }
  bool OnText(std::string_view text) override { return pending.Add(text); }
  void OnDone(const absl::StatusOr<CaptionResult>& result) override { pending.Finish(result); }
  Pending<CaptionResult> pending;
};

class AnswerToPending : public AnswerSink {
 public:
  explicit AnswerToPending(const std::function<void(const v1::AskSources&)>& on_sources) : on_sources_(on_sources) {}
  bool OnSources(const AnswerResult& so_far) override {  // on the thread that called Start
    if (on_sources_) on_sources_(rpc::ToSources(so_far));
    return !Interrupted();
  }
  bool OnText(std::string_view text) override { return pending.Add(text); }
  void OnDone(const absl::StatusOr<AnswerResult>& result) override { pending.Finish(result); }
  Pending<AnswerResult> pending;

 private:
  const std::function<void(const v1::AskSources&)>& on_sources_;
};

class LocalBackend : public Backend {
 public:
  LocalBackend(ModelStore& models, std::unique_ptr<Reranker> reranker)
      : models_(models), reranker_(std::move(reranker)), generator_(models), captioner_(models), answerer_(models) {}

  absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request, const OnText& on_text,
                                                const OnText& on_reasoning) override {
    absl::StatusOr<GenerateRequest> converted = rpc::FromProto(request, models_);
    if (!converted.ok()) return converted.status();
    auto sink = std::make_shared<GenerateSink>();
    absl::StatusOr<CancelFunction> cancel = generator_.Start(*converted, sink);
    if (!cancel.ok()) return cancel.status();
    return Convert(sink->pending.Wait(on_text, *cancel, on_reasoning));
  }

  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request) override {
    const absl::StatusOr<ScoreRequest> converted = rpc::FromProto(request, models_);
    if (!converted.ok()) return converted.status();
    return Convert(generator_.Score(*converted));
  }

  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request) override {
    return Convert(generator_.Tokenize(request.text()));
  }

  absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request) override {
    const std::vector<language::TokenId> ids(request.ids().begin(), request.ids().end());
    absl::StatusOr<std::string> text = generator_.Detokenize(ids);
    if (!text.ok()) return text.status();
    return rpc::ToDetokenizeResponse(*std::move(text), models_);
  }

  absl::StatusOr<v1::EmbedResponse> Embed(const v1::EmbedRequest& request) override {
    return Convert(generator_.Embed(std::vector<std::string>(request.texts().begin(), request.texts().end())));
  }

  absl::StatusOr<v1::CaptionResponse> Caption(const v1::CaptionRequest& request, const OnText& on_text) override {
    absl::StatusOr<CaptionRequest> converted = rpc::FromProto(request, models_);
    if (!converted.ok()) return converted.status();
    auto sink = std::make_shared<CaptionToPending>();
    absl::StatusOr<CancelFunction> cancel = captioner_.Start(*converted, sink);
    if (!cancel.ok()) return cancel.status();
    return Convert(sink->pending.Wait(on_text, *cancel));
  }

  absl::Status CaptionImages(const std::function<std::optional<v1::CaptionImagesRequest>()>& next,
                             const std::function<void(const v1::CaptionImagesResponse&)>& done) override {
    struct UnderWay {
      std::string id;
      std::shared_ptr<CaptionToPending> sink;
      absl::StatusOr<CancelFunction> cancel;
    };
    std::deque<UnderWay> queue;
    const auto finish_first = [&] {
      UnderWay first = std::move(queue.front());
      queue.pop_front();
      v1::CaptionImagesResponse response;
      response.set_id(first.id);
      absl::StatusOr<v1::CaptionResponse> caption =
          first.cancel.ok() ? Convert(first.sink->pending.Wait(nullptr, *first.cancel)) : first.cancel.status();
      if (caption.ok()) {
        *response.mutable_caption() = *std::move(caption);
      } else {
        *response.mutable_error() = rpc::ToRpcStatus(caption.status());
      }
      done(response);
    };
    while (!Interrupted()) {
      const std::optional<v1::CaptionImagesRequest> request = next();
      if (!request.has_value()) break;
      UnderWay started{request->id(), std::make_shared<CaptionToPending>(), absl::CancelledError("")};
      absl::StatusOr<CaptionRequest> converted = rpc::FromProto(*request, models_);
      started.cancel = converted.ok() ? captioner_.Start(*converted, started.sink) : converted.status();
      // No model: no other picture will fare better.
      if (absl::IsNotFound(started.cancel.status())) return started.cancel.status();
      queue.push_back(std::move(started));
      if (queue.size() == kCaptionsUnderWay) finish_first();
    }
    while (!queue.empty()) finish_first();
    return absl::OkStatus();
  }

  absl::StatusOr<v1::AskResponse> Ask(const v1::AskRequest& request,
                                      const std::function<void(const v1::AskSources&)>& on_sources,
                                      const OnText& on_text) override {
    absl::StatusOr<AskRequest> converted = rpc::FromProto(request, models_);
    if (!converted.ok()) return converted.status();
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection = Open(request.collection(), true);
    if (!collection.ok()) return collection.status();
    auto sink = std::make_shared<AnswerToPending>(on_sources);
    absl::StatusOr<CancelFunction> cancel = answerer_.Start(*converted, **collection, sink);
    if (!cancel.ok()) return cancel.status();
    return Convert(sink->pending.Wait(on_text, *cancel));
  }

  absl::StatusOr<v1::CreateCollectionResponse> CreateCollection(const v1::CreateCollectionRequest& request) override {
    absl::StatusOr<retrieval::IndexKind> index = rpc::FromProto(request.index());
    if (!index.ok()) return index.status();
    retrieval::CollectionOptions options;
    if (retrieval::Collection::Open(request.collection(), options).ok())
      return absl::AlreadyExistsError(absl::StrCat("there is a collection in ", request.collection(), " already"));
    options.mode = retrieval::OpenMode::kWrite;
    options.create = true;
    options.index = *index;
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection =
        retrieval::Collection::Open(request.collection(), options);
    if (!collection.ok()) return collection.status();
    absl::StatusOr<retrieval::CollectionStats> stats = (*collection)->Stats();
    if (!stats.ok()) return stats.status();
    v1::CreateCollectionResponse response;
    *response.mutable_collection() = rpc::ToProto(request.collection(), *stats);
    return response;
  }

  absl::StatusOr<v1::UpdateCollectionResponse> UpdateCollection(const v1::UpdateCollectionRequest& request) override {
    retrieval::CollectionOptions options;
    options.mode = retrieval::OpenMode::kWrite;
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection =
        retrieval::Collection::Open(request.collection(), options);
    if (!collection.ok()) return collection.status();
    const auto refuse_below =
        request.has_refuse_below() ? std::optional<double>(request.refuse_below()) : std::optional<double>();
    if (absl::Status status = KeepRefuseBelow(**collection, refuse_below); !status.ok()) return status;
    absl::StatusOr<retrieval::CollectionStats> stats = (*collection)->Stats();
    if (!stats.ok()) return stats.status();
    v1::UpdateCollectionResponse response;
    *response.mutable_collection() = rpc::ToProto(request.collection(), *stats);
    return response;
  }

  absl::StatusOr<v1::GetDocumentResponse> GetDocument(const v1::GetDocumentRequest& request) override {
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection = Open(request.collection(), false);
    if (!collection.ok()) return collection.status();
    absl::StatusOr<retrieval::Document> document = (*collection)->Get(request.id());
    if (!document.ok()) return document.status();
    v1::GetDocumentResponse response;
    *response.mutable_document() = rpc::ToProto(*document);
    response.set_text(std::move(document->text));
    return response;
  }

  absl::StatusOr<AddReport> AddDocuments(const AddRequest& request) override {
    if (request.dry_run) return PlanDocuments(request);
    retrieval::CollectionOptions options;
    options.mode = retrieval::OpenMode::kWrite;
    options.create = true;
    options.chunker = request.chunker;
    absl::StatusOr<retrieval::Embedder> embedder = models_.CollectionEmbedder();
    if (!embedder.ok()) return embedder.status();
    options.embedder = *std::move(embedder);
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection =
        retrieval::Collection::Open(request.collection, options);
    if (!collection.ok()) return collection.status();

    AddReport report;
    retrieval::IndexerOptions indexing;
    indexing.find = FindOptionsOf(request);
    indexing.prune = request.prune;
    indexing.strict = request.strict;
    indexing.cache = request.digests;
    indexing.near_duplicates = request.near_duplicates;
    indexing.loader = WithPictures(captioner_, models_);
    indexing.loader.json_text = request.json_text;
    indexing.metadata = request.metadata;
    indexing.language = request.language;
    indexing.progress = [&](const retrieval::IndexProgress& progress) {
      if (request.progress) {
        request.progress({progress.indexing, progress.files_done, progress.files_total, progress.bytes_done,
                          progress.bytes_total, progress.path});
      }
      return !Interrupted();
    };
    indexing.acknowledged = [&](const std::string& id, const std::string& path, retrieval::PutOutcome outcome) {
      AddResult(id, path, rpc::ToProto(outcome), report);
    };
    absl::StatusOr<retrieval::IndexReport> added = retrieval::Indexer(**collection, indexing).Add(request.paths);
    if (!added.ok()) return added.status();
    for (const retrieval::SkippedFile& skipped : added->skipped) {
      *report.response.add_results() = rpc::ToProto(skipped);
    }
    std::map<std::string, v1::PutResult*> results;  // by id
    for (v1::PutResult& result : *report.response.mutable_results()) results[result.id()] = &result;
    for (const retrieval::FileWarning& warning : added->warnings) {
      if (const auto result = results.find(warning.id); result != results.end())
        result->second->add_warnings(warning.text);
    }
    // What is left out by Ctrl-C, the next call builds.
    const absl::Status built = (*collection)->BuildIndexes([] { return Interrupted(); });
    if (!built.ok() && !absl::IsCancelled(built)) return built;
    for (const retrieval::DocumentInfo& gone : added->gone) report.gone.push_back(gone.path);
    for (const retrieval::DuplicateFile& file : added->duplicates)
      report.duplicates.push_back({file.path, file.same_as});
    for (const retrieval::NearDuplicateFiles& pair : added->near_duplicates)
      report.near_duplicates.push_back({pair.path, pair.other, pair.similarity});
    report.pruned = added->pruned;
    report.unsupported = added->unsupported;
    report.left_out = added->left_out;
    report.stopped = added->stopped;
    return report;
  }

  absl::StatusOr<AddReport> PreviewDocuments(const AddRequest& request,
                                             const std::function<void(const PreviewedChunk&)>& show) override {
    absl::StatusOr<retrieval::Embedder> embedder = models_.CollectionEmbedder();
    if (!embedder.ok()) return embedder.status();
    retrieval::LoaderOptions loader = WithPictures(captioner_, models_);
    loader.json_text = request.json_text;
    return PreviewChunks(request, loader, *embedder, show);
  }

  absl::StatusOr<v1::ListDocumentsResponse> ListDocuments(const v1::ListDocumentsRequest& request) override {
    absl::StatusOr<retrieval::Filter> filter = rpc::FromProto(request.filter());
    if (!filter.ok()) return filter.status();
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection = Open(request.collection(), false);
    if (!collection.ok()) return collection.status();
    absl::StatusOr<retrieval::DocumentPage> page =
        (*collection)->List(request.page_size() > 0 ? request.page_size() : 100, request.page_token(), *filter);
    if (!page.ok()) return page.status();
    v1::ListDocumentsResponse response;
    for (const retrieval::DocumentInfo& document : page->documents) *response.add_documents() = rpc::ToProto(document);
    response.set_next_page_token(page->next_page_token);
    return response;
  }

  absl::StatusOr<v1::DeleteDocumentsResponse> DeleteDocuments(const v1::DeleteDocumentsRequest& request) override {
    retrieval::CollectionOptions options;
    options.mode = retrieval::OpenMode::kWrite;
    absl::StatusOr<retrieval::Embedder> embedder = models_.CollectionEmbedder();
    if (!embedder.ok()) return embedder.status();
    options.embedder = *std::move(embedder);
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection =
        retrieval::Collection::Open(request.collection(), options);
    if (!collection.ok()) return collection.status();
    absl::StatusOr<int64_t> deleted =
        (*collection)->Delete(std::vector<std::string>(request.ids().begin(), request.ids().end()));
    if (!deleted.ok()) return deleted.status();
    v1::DeleteDocumentsResponse response;
    response.set_deleted(static_cast<int32_t>(*deleted));
    return response;
  }

  absl::StatusOr<v1::SearchResponse> Search(const v1::SearchRequest& request) override {
    absl::StatusOr<retrieval::Query> query = rpc::FromProto(request);
    if (!query.ok()) return query.status();
    const absl::StatusOr<int64_t> depth = rpc::RerankDepth(request, query->count);
    if (!depth.ok()) return depth.status();
    const bool by_words = query->mode == retrieval::SearchMode::kWords;
    // Kept for the next search, which may be one of thousands; it sees what was written in between.
    if (!searched_ || searched_->folder() != request.collection() || (searched_by_words_ && !by_words)) {
      absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection = Open(request.collection(), !by_words);
      if (!collection.ok()) return collection.status();
      searched_ = *std::move(collection);
      searched_by_words_ = by_words;
    }
    const auto start = std::chrono::steady_clock::now();
    absl::StatusOr<std::vector<retrieval::ScoredChunk>> chunks =
        SearchReranked(*searched_, *query, *depth, reranker_.get());
    if (!chunks.ok()) return chunks.status();
    v1::SearchResponse response;
    for (const retrieval::ScoredChunk& chunk : *chunks) *response.add_results() = rpc::ToProto(chunk);
    response.mutable_timings()->set_retrieve_ms(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    if (!by_words) *response.mutable_embedder() = rpc::ToIdentity(models_.Info(ModelRole::kEmbedder));
    if (*depth > 0) *response.mutable_reranker() = rpc::ToIdentity(*reranker_);
    return response;
  }

  absl::StatusOr<v1::GetCollectionResponse> GetCollection(const v1::GetCollectionRequest& request) override {
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection = Open(request.collection(), false);
    if (!collection.ok()) return collection.status();
    absl::StatusOr<retrieval::CollectionStats> stats = (*collection)->Stats();
    if (!stats.ok()) return stats.status();
    v1::GetCollectionResponse response;
    *response.mutable_collection() = rpc::ToProto(request.collection(), *stats);
    return response;
  }

  absl::StatusOr<v1::VerifyCollectionResponse> VerifyCollection(const v1::VerifyCollectionRequest& request) override {
    const absl::StatusOr<retrieval::VerifyReport> report = retrieval::VerifyCollection(request.collection());
    if (!report.ok()) return report.status();
    return rpc::ToProto(*report);
  }

  absl::StatusOr<v1::SnapshotCollectionResponse> SnapshotCollection(
      const v1::SnapshotCollectionRequest& request) override {
    const absl::StatusOr<retrieval::SnapshotReport> report =
        retrieval::SnapshotCollection(request.collection(), request.snapshot());
    if (!report.ok()) return report.status();
    return rpc::ToProto(*report);
  }

  absl::StatusOr<v1::ListModelsResponse> ListModels() override {
    v1::ListModelsResponse response;
    for (const ModelInfo& info : models_.List()) *response.add_models() = rpc::ToProto(info);
    return response;
  }

  absl::StatusOr<v1::ListAdaptersResponse> ListAdapters(const v1::ListAdaptersRequest&) override { return NoServer(); }
  absl::StatusOr<v1::LoadAdapterResponse> LoadAdapter(const v1::LoadAdapterRequest&) override { return NoServer(); }
  absl::StatusOr<v1::UnloadAdapterResponse> UnloadAdapter(const v1::UnloadAdapterRequest&) override {
    return NoServer();
  }

 private:
  static absl::Status NoServer() {
    return absl::FailedPreconditionError(
        "adapters are loaded into a running server: give its address with --server. A command by itself takes "
        "--adapter "
        "DIR");
  }

  static retrieval::FindOptions FindOptionsOf(const AddRequest& request) {
    return {request.source, request.include, request.exclude, request.gitignore};
  }

  static void AddResult(const std::string& id, const std::string& path, v1::PutState state, AddReport& report) {
    v1::PutResult& result = *report.response.add_results();
    result.set_id(id);
    result.set_path(path);
    result.set_state(state);
  }

  // What AddDocuments would do; nothing is parsed.
  absl::StatusOr<AddReport> PlanDocuments(const AddRequest& request) {
    retrieval::CollectionOptions options;
    options.chunker = request.chunker;
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection =
        retrieval::Collection::Open(request.collection, options);
    if (!collection.ok() && !absl::IsNotFound(collection.status())) return collection.status();
    retrieval::PlanOptions planning;
    planning.find = FindOptionsOf(request);
    planning.loader = WithPictures(captioner_, models_);
    planning.loader.json_text = request.json_text;
    planning.metadata = request.metadata;
    planning.language = request.language;
    planning.progress = [&](int64_t done, int64_t total, const std::string& path) {
      if (request.progress) request.progress({false, done, total, 0, 0, path});
      return !Interrupted();
    };
    absl::StatusOr<retrieval::SyncPlan> plan =
        retrieval::PlanSync(collection.ok() ? collection->get() : nullptr, request.paths, planning);
    if (!plan.ok()) return plan.status();
    AddReport report;
    for (const retrieval::PlannedFile& file : plan->files) {
      const std::string id = retrieval::DocumentId(file.found.source, file.found.path);
      switch (file.state) {
        case retrieval::FileState::kNew:
          AddResult(id, file.found.path, v1::PUT_STATE_ADDED, report);
          break;
        case retrieval::FileState::kChanged:
          AddResult(id, file.found.path, v1::PUT_STATE_REPLACED, report);
          break;
        case retrieval::FileState::kUnchanged:
          AddResult(id, file.found.path, v1::PUT_STATE_UNCHANGED, report);
          break;
        case retrieval::FileState::kDuplicate:
          report.duplicates.push_back({file.found.path, file.duplicate_of});
          break;
      }
    }
    for (const retrieval::SkippedFile& skipped : plan->skipped) *report.response.add_results() = rpc::ToProto(skipped);
    for (const retrieval::DocumentInfo& gone : plan->gone) report.gone.push_back(gone.path);
    report.pruned = request.prune ? static_cast<int64_t>(plan->gone.size()) : 0;
    report.unsupported = plan->unsupported;
    report.left_out = plan->left_out;
    report.stopped = plan->stopped;
    return report;
  }

  template <typename Result>
  auto Convert(absl::StatusOr<Result> result)
      -> absl::StatusOr<decltype(rpc::ToProto(*result, std::declval<ModelStore&>()))> {
    if (!result.ok()) return result.status();
    return rpc::ToProto(*result, models_);
  }

  absl::StatusOr<std::unique_ptr<retrieval::Collection>> Open(const std::string& folder, bool with_embedder) {
    retrieval::CollectionOptions options;
    if (with_embedder) {
      absl::StatusOr<retrieval::Embedder> embedder = models_.CollectionEmbedder();
      if (!embedder.ok()) return embedder.status();
      options.embedder = *std::move(embedder);
    }
    return retrieval::Collection::Open(folder, options);
  }

  ModelStore& models_;
  std::unique_ptr<retrieval::Collection> searched_;  // by the last Search; after models_, whose embedder it has
  bool searched_by_words_ = false;
  const std::unique_ptr<Reranker> reranker_;  // null: none
  TextGenerator generator_;
  Captioner captioner_;
  Answerer answerer_;
};

}  // namespace

std::unique_ptr<Backend> MakeLocalBackend(ModelStore& models, std::unique_ptr<Reranker> reranker) {
  return std::make_unique<LocalBackend>(models, std::move(reranker));
}

}  // namespace blazon::service::cli
