// Commands carried out by a running server, over gRPC.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "blazon/v1/answer.grpc.pb.h"
#include "blazon/v1/caption.grpc.pb.h"
#include "blazon/v1/generation.grpc.pb.h"
#include "blazon/v1/index.grpc.pb.h"
#include "blazon/v1/model.grpc.pb.h"
#include "retrieval/collection.h"
#include "retrieval/document_loader.h"
#include "retrieval/indexer.h"
#include "service/cli/backend.h"
#include "service/cli/interrupt.h"
#include "service/rpc/convert.h"
#include "service/rpc/server.h"
#include "service/rpc/status.h"

namespace blazon::service::cli {
namespace {

constexpr int kCaptionsAhead = 8;
constexpr int kListedDocuments = 1000;   // at a time; deleted at a time too
constexpr size_t kDataBytes = 1u << 20;  // of one message of a document

// A call's context that Ctrl-C cancels.
class Call {
 public:
  Call()
      : watcher_([this] {
          while (!over_) {
            if (Interrupted()) context.TryCancel();
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
          }
        }) {}
  ~Call() {
    over_ = true;
    watcher_.join();
  }
  grpc::ClientContext context;

 private:
  std::atomic<bool> over_ = false;
  std::thread watcher_;
};

// The streaming twin of a request; their fields are the same by design (proto/blazon/v1).
template <typename Stream, typename Unary>
Stream ToStream(const Unary& request) {
  Stream stream;
  stream.ParseFromString(request.SerializeAsString());
  return stream;
}

// The bytes of a file of a kind that can be read; what the loaders refuse in an empty one is refused here, for the wire
// carries no document without bytes.
absl::StatusOr<std::string> ReadDocument(const retrieval::FoundFile& file) {
  absl::StatusOr<retrieval::DocumentFormat> format = retrieval::FormatFromPath(file.path);
  if (!format.ok()) return format.status();
  absl::StatusOr<std::string> bytes = retrieval::ReadDocumentFile(file.file);
  if (bytes.ok() && bytes->empty()) return retrieval::LoadDocument(*format, *bytes, file.path).status();
  return bytes;
}

class RemoteBackend : public Backend {
 public:
  explicit RemoteBackend(const std::string& address) : address_(address) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(rpc::kMaxMessageBytes);
    const auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    answers_ = v1::AnswerService::NewStub(channel);
    captions_ = v1::CaptionService::NewStub(channel);
    generation_ = v1::GenerationService::NewStub(channel);
    index_ = v1::IndexService::NewStub(channel);
    models_ = v1::ModelService::NewStub(channel);
  }

  absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request, const OnText& on_text,
                                                const OnText& on_reasoning) override {
    Call call;
    const auto reader = generation_->StreamGenerate(&call.context, ToStream<v1::StreamGenerateRequest>(request));
    v1::StreamGenerateResponse event;
    v1::GenerateResponse response;
    while (reader->Read(&event)) {
      if (event.has_done()) response = std::move(*event.mutable_done());
      if (event.event_case() == v1::StreamGenerateResponse::kTextDelta && event.sequence() == 0)
        on_text(event.text_delta());
      if (event.event_case() == v1::StreamGenerateResponse::kReasoningDelta && event.sequence() == 0 && on_reasoning)
        on_reasoning(event.reasoning_delta());
    }
    return Finish(reader->Finish(), std::move(response));
  }

  absl::StatusOr<v1::CaptionResponse> Caption(const v1::CaptionRequest& request, const OnText& on_text) override {
    Call call;
    const auto reader = captions_->StreamCaption(&call.context, ToStream<v1::StreamCaptionRequest>(request));
    v1::StreamCaptionResponse event;
    v1::CaptionResponse response;
    while (reader->Read(&event)) {
      if (event.has_done()) response = std::move(*event.mutable_done());
      if (event.event_case() == v1::StreamCaptionResponse::kTextDelta) on_text(event.text_delta());
    }
    return Finish(reader->Finish(), std::move(response));
  }

  absl::StatusOr<v1::AskResponse> Ask(const v1::AskRequest& request,
                                      const std::function<void(const v1::AskSources&)>& on_sources,
                                      const OnText& on_text) override {
    Call call;
    const auto reader = answers_->StreamAsk(&call.context, ToStream<v1::StreamAskRequest>(request));
    v1::StreamAskResponse event;
    v1::AskResponse response;
    while (reader->Read(&event)) {
      if (event.has_done()) response = std::move(*event.mutable_done());
      if (event.has_sources() && on_sources) on_sources(event.sources());
      if (event.event_case() == v1::StreamAskResponse::kTextDelta) on_text(event.text_delta());
    }
    return Finish(reader->Finish(), std::move(response));
  }

  absl::Status CaptionImages(const std::function<std::optional<v1::CaptionImagesRequest>()>& next,
                             const std::function<void(const v1::CaptionImagesResponse&)>& done) override {
    Call call;
    const auto stream = captions_->CaptionImages(&call.context);
    std::vector<std::string> order;                            // ids, as sent
    size_t printed = 0;                                        // of them
    std::map<std::string, v1::CaptionImagesResponse> waiting;  // came before their turn
    size_t received = 0;
    const auto read_one = [&] {
      v1::CaptionImagesResponse response;
      if (!stream->Read(&response)) return false;
      ++received;
      waiting[response.id()] = std::move(response);
      while (printed < order.size() && waiting.contains(order[printed]))
        done(waiting.extract(order[printed++]).mapped());
      return true;
    };
    bool open = true;
    while (open) {
      const std::optional<v1::CaptionImagesRequest> request = next();
      if (!request.has_value()) break;
      order.push_back(request->id());
      open = stream->Write(*request);
      if (open && order.size() - received == kCaptionsAhead) open = read_one();
    }
    stream->WritesDone();
    while (read_one()) {
    }
    return Translate(stream->Finish());
  }

  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request) override {
    return Unary<v1::ScoreResponse>(
        [&](auto* context, auto* response) { return generation_->Score(context, request, response); });
  }
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request) override {
    return Unary<v1::TokenizeResponse>(
        [&](auto* context, auto* response) { return generation_->Tokenize(context, request, response); });
  }
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request) override {
    return Unary<v1::DetokenizeResponse>(
        [&](auto* context, auto* response) { return generation_->Detokenize(context, request, response); });
  }
  absl::StatusOr<v1::EmbedResponse> Embed(const v1::EmbedRequest& request) override {
    return Unary<v1::EmbedResponse>(
        [&](auto* context, auto* response) { return generation_->Embed(context, request, response); });
  }
  absl::StatusOr<v1::ListDocumentsResponse> ListDocuments(const v1::ListDocumentsRequest& request) override {
    return Unary<v1::ListDocumentsResponse>(
        [&](auto* context, auto* response) { return index_->ListDocuments(context, request, response); });
  }
  absl::StatusOr<v1::DeleteDocumentsResponse> DeleteDocuments(const v1::DeleteDocumentsRequest& request) override {
    return Unary<v1::DeleteDocumentsResponse>(
        [&](auto* context, auto* response) { return index_->DeleteDocuments(context, request, response); });
  }
  absl::StatusOr<v1::SearchResponse> Search(const v1::SearchRequest& request) override {
    return Unary<v1::SearchResponse>(
        [&](auto* context, auto* response) { return index_->Search(context, request, response); });
  }
  absl::StatusOr<v1::GetCollectionResponse> GetCollection(const v1::GetCollectionRequest& request) override {
    return Unary<v1::GetCollectionResponse>(
        [&](auto* context, auto* response) { return index_->GetCollection(context, request, response); });
  }
  absl::StatusOr<v1::ListModelsResponse> ListModels() override {
    const v1::ListModelsRequest request;
    return Unary<v1::ListModelsResponse>(
        [&](auto* context, auto* response) { return models_->ListModels(context, request, response); });
  }
  absl::StatusOr<v1::ListAdaptersResponse> ListAdapters(const v1::ListAdaptersRequest& request) override {
    return Unary<v1::ListAdaptersResponse>(
        [&](auto* context, auto* response) { return models_->ListAdapters(context, request, response); });
  }
  absl::StatusOr<v1::LoadAdapterResponse> LoadAdapter(const v1::LoadAdapterRequest& request) override {
    return Unary<v1::LoadAdapterResponse>(
        [&](auto* context, auto* response) { return models_->LoadAdapter(context, request, response); });
  }
  absl::StatusOr<v1::UnloadAdapterResponse> UnloadAdapter(const v1::UnloadAdapterRequest& request) override {
    return Unary<v1::UnloadAdapterResponse>(
        [&](auto* context, auto* response) { return models_->UnloadAdapter(context, request, response); });
  }
  absl::StatusOr<v1::VerifyCollectionResponse> VerifyCollection(const v1::VerifyCollectionRequest& request) override {
    return Unary<v1::VerifyCollectionResponse>(
        [&](auto* context, auto* response) { return index_->VerifyCollection(context, request, response); });
  }
  absl::StatusOr<v1::SnapshotCollectionResponse> SnapshotCollection(
      const v1::SnapshotCollectionRequest& request) override {
    return Unary<v1::SnapshotCollectionResponse>(
        [&](auto* context, auto* response) { return index_->SnapshotCollection(context, request, response); });
  }

  absl::StatusOr<v1::CreateCollectionResponse> CreateCollection(const v1::CreateCollectionRequest& request) override {
    return Unary<v1::CreateCollectionResponse>(
        [&](auto* context, auto* response) { return index_->CreateCollection(context, request, response); });
  }

  absl::StatusOr<AddReport> PreviewDocuments(const AddRequest&,
                                             const std::function<void(const PreviewedChunk&)>&) override {
    return absl::UnimplementedError("--preview cuts files in this process; leave out --server");
  }
  absl::StatusOr<v1::UpdateCollectionResponse> UpdateCollection(const v1::UpdateCollectionRequest& request) override {
    return Unary<v1::UpdateCollectionResponse>(
        [&](auto* context, auto* response) { return index_->UpdateCollection(context, request, response); });
  }
  absl::StatusOr<v1::GetDocumentResponse> GetDocument(const v1::GetDocumentRequest& request) override {
    return Unary<v1::GetDocumentResponse>(
        [&](auto* context, auto* response) { return index_->GetDocument(context, request, response); });
  }

  absl::StatusOr<AddReport> AddDocuments(const AddRequest& request) override {
    if (request.dry_run || request.strict || request.near_duplicates > 0 ||
        request.chunker != retrieval::ChunkerOptions()) {
      return absl::UnimplementedError(
          "a server does not take --dry-run, --strict, --near-duplicates, --chunker and --chunk-tokens; leave them "
          "out, "
          "or leave out --server where its --data folder is");
    }
    AddReport report;
    absl::StatusOr<retrieval::FoundFiles> found =
        retrieval::FindFiles(request.paths, {request.source, request.include, request.exclude, request.gitignore});
    if (!found.ok()) return found.status();
    report.unsupported = found->unsupported;
    report.left_out = found->left_out;
    const std::vector<retrieval::FoundFile>& files = found->files;
    v1::CreateCollectionRequest create;
    create.set_collection(request.collection);
    const auto created = CreateCollection(create);
    if (!created.ok() && !absl::IsAlreadyExists(created.status())) return created.status();

    Call call;
    const auto writer = index_->PutDocuments(&call.context, &report.response);
    v1::PutDocumentsRequest message;
    message.set_collection(request.collection);
    bool open = writer->Write(message);
    int64_t sent = 0;
    std::vector<retrieval::SkippedFile>& unread = found->skipped;  // could not even be sent
    for (size_t i = 0; open && i < files.size() && !Interrupted(); ++i) {
      const retrieval::FoundFile& file = files[i];
      absl::StatusOr<std::string> bytes = ReadDocument(file);
      if (!bytes.ok()) {
        unread.push_back({retrieval::DocumentId(file.source, file.path), file.path, bytes.status()});
        continue;
      }
      message.mutable_document()->set_path(file.path);
      message.mutable_document()->set_source(file.source);
      message.mutable_document()->set_size_bytes(static_cast<int32_t>(bytes->size()));
      message.mutable_document()->set_json_text(request.json_text);
      message.mutable_document()->set_language(request.language);
      message.mutable_document()->mutable_metadata()->insert(request.metadata.begin(), request.metadata.end());
      sent += static_cast<int64_t>(bytes->size());
      open = writer->Write(message);
      for (size_t begin = 0; open && begin < bytes->size(); begin += kDataBytes) {
        message.set_data(bytes->substr(begin, kDataBytes));
        open = writer->Write(message);
      }
      if (request.progress)
        request.progress({true, static_cast<int64_t>(i + 1), static_cast<int64_t>(files.size()), sent, 0, file.path});
    }
    writer->WritesDone();
    if (absl::Status status = Translate(writer->Finish()); !status.ok()) return status;
    for (const retrieval::SkippedFile& skipped : unread) *report.response.add_results() = rpc::ToProto(skipped);
    report.stopped = Interrupted();
    if (report.stopped || !found->complete) return report;
    absl::Status status = TakeGone(request, *found, report);
    if (!status.ok()) return status;
    return report;
  }

 private:
  // Names the documents of the folders' sources that have no file, and removes them when that is asked for.
  absl::Status TakeGone(const AddRequest& request, const retrieval::FoundFiles& found, AddReport& report) {
    std::set<std::string> present;
    for (const retrieval::FoundFile& file : found.files) present.insert(retrieval::DocumentId(file.source, file.path));
    std::vector<std::string> gone;
    for (const std::string& source : std::set<std::string>(found.sources.begin(), found.sources.end())) {
      if (source.empty()) continue;  // a filter cannot say so
      v1::ListDocumentsRequest list;
      list.set_collection(request.collection);
      list.set_page_size(kListedDocuments);
      list.mutable_filter()->set_source(source);
      do {
        absl::StatusOr<v1::ListDocumentsResponse> page = ListDocuments(list);
        if (!page.ok()) return page.status();
        for (const v1::Document& document : page->documents()) {
          if (present.contains(document.id())) continue;
          gone.push_back(document.id());
          report.gone.push_back(document.path());
        }
        list.set_page_token(page->next_page_token());
      } while (!list.page_token().empty());
    }
    for (size_t begin = 0; request.prune && begin < gone.size(); begin += kListedDocuments) {
      v1::DeleteDocumentsRequest remove;
      remove.set_collection(request.collection);
      for (size_t i = begin; i < std::min(gone.size(), begin + kListedDocuments); ++i) remove.add_ids(gone[i]);
      absl::StatusOr<v1::DeleteDocumentsResponse> removed = DeleteDocuments(remove);
      if (!removed.ok()) return removed.status();
      report.pruned += removed->deleted();
    }
    return absl::OkStatus();
  }

  absl::Status Translate(const grpc::Status& status) const {
    absl::Status translated = rpc::FromGrpcStatus(status);
    if (!absl::IsUnavailable(translated)) return translated;
    return absl::UnavailableError(absl::StrCat("the server at ", address_, " did not answer: ", translated.message(),
                                               ". Is 'blazon serve' running there?"));
  }

  template <typename Response>
  absl::StatusOr<Response> Finish(const grpc::Status& status, Response response) const {
    if (absl::Status translated = Translate(status); !translated.ok()) return translated;
    return response;
  }

  template <typename Response, typename Invoke>
  absl::StatusOr<Response> Unary(Invoke invoke) const {
    Call call;
    Response response;
    const grpc::Status status = invoke(&call.context, &response);
    return Finish(status, std::move(response));
  }

  std::string address_;
  std::unique_ptr<v1::AnswerService::Stub> answers_;
  std::unique_ptr<v1::CaptionService::Stub> captions_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::IndexService::Stub> index_;
  std::unique_ptr<v1::ModelService::Stub> models_;
};

}  // namespace

std::unique_ptr<Backend> MakeRemoteBackend(const std::string& address) {
  return std::make_unique<RemoteBackend>(address);
}

}  // namespace blazon::service::cli
