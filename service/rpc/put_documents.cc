#include "service/rpc/put_documents.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "retrieval/document_loader.h"
#include "service/picture_describer.h"
#include "service/rpc/call.h"
#include "service/rpc/checks.h"
#include "service/rpc/convert.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace {

constexpr int kMaxDocuments = 10000;
constexpr size_t kMaxPathBytes = 1024;
constexpr size_t kMaxSourceBytes = 256;
constexpr int kMaxMetadata = 64;
constexpr size_t kMaxEmbedderBytes = 256;
constexpr int kMaxChunks = 65536;
constexpr size_t kMaxVectorNumbers = 32u << 20;  // of one document
constexpr size_t kCommitBytes = 64u << 10;       // text that is committed together

bool HasControlCharacters(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

absl::Status CheckHeader(const v1::DocumentHeader& header) {
  const int limit = static_cast<int>(retrieval::LoaderLimits().max_bytes);
  if (header.path().empty() || header.path().size() > kMaxPathBytes || HasControlCharacters(header.path())) {
    return FieldError("document.path",
                      absl::StrCat("must have 1 to ", kMaxPathBytes, " bytes and no control characters"));
  }
  if (header.source().size() > kMaxSourceBytes || HasControlCharacters(header.source())) {
    return FieldError("document.source",
                      absl::StrCat("must have at most ", kMaxSourceBytes, " bytes and no control characters"));
  }
  if (header.size_bytes() < 1 || header.size_bytes() > limit) {
    return FieldError("document.size_bytes", absl::StrCat("is ", header.size_bytes(), "; its range is 1 to ", limit));
  }
  if (header.metadata_size() > kMaxMetadata) {
    return FieldError("document.metadata",
                      absl::StrCat("has ", header.metadata_size(), " entries; the limit is ", kMaxMetadata));
  }
  if (header.chunk_count() < 0 || header.chunk_count() > kMaxChunks) {
    return FieldError("document.chunk_count",
                      absl::StrCat("is ", header.chunk_count(), "; its range is 0 to ", kMaxChunks));
  }
  if (header.embedder().size() > kMaxEmbedderBytes || HasControlCharacters(header.embedder())) {
    return FieldError("document.embedder",
                      absl::StrCat("must have at most ", kMaxEmbedderBytes, " bytes and no control characters"));
  }
  return absl::OkStatus();
}

// A piece as the collection takes it, its vector put behind those of `given`.
absl::Status TakeChunk(const v1::GivenChunk& chunk, retrieval::GivenChunks& given) {
  const std::string number = absl::StrCat("chunk ", given.chunks.size());
  if (chunk.begin() < 0 || chunk.end() < 0)
    return absl::InvalidArgumentError(absl::StrCat(number, " spans [", chunk.begin(), ", ", chunk.end(), ")"));
  const size_t dimension =
      given.chunks.empty() ? static_cast<size_t>(chunk.vector_size()) : given.vectors.size() / given.chunks.size();
  if (static_cast<size_t>(chunk.vector_size()) != dimension) {
    return absl::InvalidArgumentError(absl::StrCat(number, " has a vector of ", chunk.vector_size(),
                                                   " numbers, and those before it have ", dimension,
                                                   "; all have one of the same dimension, or none has"));
  }
  if (given.vectors.size() + dimension > kMaxVectorNumbers) {
    return absl::InvalidArgumentError(
        absl::StrCat("the vectors have more than ", kMaxVectorNumbers, " numbers; split the document"));
  }
  retrieval::GivenChunk& taken = given.chunks.emplace_back();
  taken.span = {static_cast<size_t>(chunk.begin()), static_cast<size_t>(chunk.end())};
  taken.heading_path = chunk.headings();
  taken.place = chunk.place();
  taken.line = chunk.line();
  given.vectors.insert(given.vectors.end(), chunk.vector().begin(), chunk.vector().end());
  return absl::OkStatus();
}

absl::StatusOr<retrieval::DocumentFormat> Format(const v1::DocumentHeader& header) {
  if (header.media_type().empty()) return retrieval::FormatFromPath(header.path());
  using retrieval::DocumentFormat;
  static constexpr std::pair<std::string_view, DocumentFormat> kTypes[] = {
      {"text/plain", DocumentFormat::kText},
      {"text/markdown", DocumentFormat::kMarkdown},
      {"text/html", DocumentFormat::kHtml},
      {"text/csv", DocumentFormat::kTable},
      {"application/json", DocumentFormat::kJson},
      {"application/jsonl", DocumentFormat::kJsonLines},
      {"message/rfc822", DocumentFormat::kEmail},
      {"application/pdf", DocumentFormat::kPdf},
      {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", DocumentFormat::kDocx},
      {"application/vnd.openxmlformats-officedocument.presentationml.presentation", DocumentFormat::kPptx},
      {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", DocumentFormat::kXlsx},
      {"application/vnd.oasis.opendocument.text", DocumentFormat::kOdt},
      {"application/epub+zip", DocumentFormat::kEpub},
      {"image/png", DocumentFormat::kImage},
      {"image/jpeg", DocumentFormat::kImage},
      {"image/webp", DocumentFormat::kImage},
      {"image/bmp", DocumentFormat::kImage},
  };
  std::string names;
  for (const auto& [name, format] : kTypes) {
    if (header.media_type() == name) return format;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  return FieldError("document.media_type", absl::StrCat("is \"", header.media_type(), "\"; it can be ", names));
}

// Reads a message, works on it on a worker, reads the next: at most one document and one batch are in memory.
class PutDocumentsCall final : public grpc::ServerReadReactor<v1::PutDocumentsRequest>, public Call {
 public:
  PutDocumentsCall(Runtime& runtime, grpc::CallbackServerContext* context, v1::PutDocumentsResponse* response)
      : Call(runtime, context), response_(response) {}

  void Start() {
    if (!Admit(v1::PutDocumentsRequest())) return;
    Read();
  }

  void OnReadDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      working_ = true;
    }
    auto self = std::static_pointer_cast<PutDocumentsCall>(shared_from_this());
    const absl::Status status = runtime().Enqueue([self, ok] { self->Work(/*last=*/!ok); });
    if (!status.ok()) End(status);
  }

  void OnCancel() override { Stop(absl::CancelledError("the client cancelled the call")); }
  void OnDone() override { Forget(); }

 private:
  void Close(grpc::Status status) override {
    std::lock_guard lock(mutex_);
    closed_ = true;
    Finish(std::move(status));
  }

  void OnStop() override {
    {
      std::lock_guard lock(mutex_);
      if (working_) return;  // Work sees it
    }
    End(stopped());
  }

  void Read() {
    std::lock_guard lock(mutex_);
    working_ = false;
    if (closed_) return;
    StartRead(&request_);
  }

  // On a worker. `last`: the client has sent everything, or is gone.
  void Work(bool last) {
    absl::Status status = stopped();
    if (status.ok()) status = last ? TakeEnd() : Take(request_);
    if (!status.ok() || last) return End(std::move(status));
    Read();
    if (absl::Status why = stopped(); !why.ok()) End(std::move(why));  // stopped between the two
  }

  absl::Status Take(const v1::PutDocumentsRequest& request) {
    if (absl::Status status = CheckKnownFields(request); !status.ok()) return status;
    switch (request.item_case()) {
      case v1::PutDocumentsRequest::kCollection:
        return TakeCollection(request.collection());
      case v1::PutDocumentsRequest::kDocument:
        return TakeHeader(request.document());
      case v1::PutDocumentsRequest::kData:
        return TakeData(request.data());
      case v1::PutDocumentsRequest::kChunks:
        return TakeChunks(request.chunks());
      default:
        return FieldError("item", "is missing; give the collection, a document's header, its chunks, or data");
    }
  }

  absl::Status TakeCollection(const std::string& name) {
    if (!collection_.empty()) return FieldError("collection", "was given before; one call fills one collection");
    if (absl::Status status = runtime().collections().Use(name).status(); !status.ok()) return status;
    collection_ = name;
    return absl::OkStatus();
  }

  absl::Status TakeHeader(const v1::DocumentHeader& header) {
    if (collection_.empty()) return FieldError("collection", "is missing; the first message names it");
    if (header_.has_value()) return Unfinished();
    if (response_->results_size() >= kMaxDocuments) {
      return FieldError(
          "document", absl::StrCat("is one too many; a call takes ", kMaxDocuments, " documents. Use several calls."));
    }
    if (absl::Status status = CheckHeader(header); !status.ok()) return status;
    header_ = header;
    bytes_.clear();
    given_ = {};
    given_status_ = absl::OkStatus();
    chunks_seen_ = 0;
    return absl::OkStatus();
  }

  // What is wrong with a piece is the document's fault: it is refused, and the call goes on.
  absl::Status TakeChunks(const v1::GivenChunks& chunks) {
    if (!header_.has_value()) return FieldError("chunks", "belong to no document; a header comes before them");
    if (!bytes_.empty()) return FieldError("chunks", "come after data; they come before it");
    if (chunks.chunks_size() == 0) return FieldError("chunks", "is empty; send at least one piece");
    chunks_seen_ += chunks.chunks_size();
    if (chunks_seen_ > header_->chunk_count()) {
      return FieldError("chunks", absl::StrCat("are more than the ", header_->chunk_count(), " that the header of ",
                                               header_->path(), " announced in chunk_count"));
    }
    for (const v1::GivenChunk& chunk : chunks.chunks()) {
      if (given_status_.ok()) given_status_ = TakeChunk(chunk, given_);
    }
    return absl::OkStatus();
  }

  absl::Status TakeData(const std::string& data) {
    if (!header_.has_value()) return FieldError("data", "belongs to no document; a header comes before it");
    if (data.empty()) return FieldError("data", "is empty; send at least one byte");
    if (chunks_seen_ < header_->chunk_count()) {
      return FieldError("data", absl::StrCat("comes after ", chunks_seen_, " of the ", header_->chunk_count(),
                                             " pieces that the header of ", header_->path(), " announced"));
    }
    if (bytes_.size() + data.size() > static_cast<size_t>(header_->size_bytes())) {
      return FieldError("data", absl::StrCat("is more than the ", header_->size_bytes(), " bytes that the header of ",
                                             header_->path(), " announced"));
    }
    bytes_ += data;
    return bytes_.size() == static_cast<size_t>(header_->size_bytes()) ? TakeDocument() : absl::OkStatus();
  }

  absl::Status TakeEnd() {
    if (header_.has_value()) return Unfinished();
    if (collection_.empty()) return FieldError("collection", "is missing; the first message names it");
    if (absl::Status status = Commit(); !status.ok()) return status;
    runtime().collections().BuildIndexesLater(collection_);
    return absl::OkStatus();
  }

  absl::Status Unfinished() const {
    return FieldError("data", absl::StrCat("ended early: ", header_->path(), " has ", bytes_.size(), " of ",
                                           header_->size_bytes(), " bytes"));
  }

  // All bytes of a document are here.
  absl::Status TakeDocument() {
    const v1::DocumentHeader header = *std::exchange(header_, std::nullopt);
    const std::string id = retrieval::DocumentId(header.source(), header.path());
    // One batch holds a document once; the later one of two replaces the earlier.
    const bool again = std::any_of(batch_.begin(), batch_.end(), [&](const retrieval::Document& document) {
      return document.source == header.source() && document.path == header.path();
    });
    if (again) {
      if (absl::Status status = Commit(); !status.ok()) return status;
    }
    v1::PutResult& result = *response_->add_results();
    result.set_id(id);
    result.set_path(header.path());
    absl::StatusOr<retrieval::Document> document = Load(header);
    bytes_.clear();
    if (document.ok()) {
      if (absl::Status status = Check(*document); !status.ok()) document = status;
    }
    if (document.ok()) result.mutable_warnings()->Add(document->warnings.begin(), document->warnings.end());
    if (!document.ok()) {
      result.set_state(v1::PUT_STATE_REFUSED);
      *result.mutable_error() = ToRpcStatus(document.status());
      return absl::OkStatus();
    }
    batch_bytes_ += document->text.size();
    batch_.push_back(*std::move(document));
    batch_results_.push_back(response_->results_size() - 1);
    return batch_bytes_ >= kCommitBytes ? Commit() : absl::OkStatus();
  }

  absl::StatusOr<retrieval::Document> Load(const v1::DocumentHeader& header) {
    const absl::StatusOr<retrieval::DocumentFormat> format = Format(header);
    if (!format.ok()) return format.status();
    retrieval::LoaderOptions options = WithPictures(runtime().captioner(), runtime().models());
    options.json_text = header.json_text();
    absl::StatusOr<retrieval::Document> document = retrieval::LoadDocument(*format, bytes_, header.path(), options);
    if (!document.ok()) return document;
    document->source = header.source();
    document->language = header.language();
    for (const auto& [name, value] : header.metadata()) document->metadata[name] = value;
    if (header.chunk_count() == 0) return document;
    if (!given_status_.ok()) {
      return absl::Status(given_status_.code(),
                          absl::StrCat("document ", header.path(), ": ", given_status_.message()));
    }
    document->given = std::move(given_);
    if (document->given->vectors.empty()) return document;
    const absl::StatusOr<retrieval::Embedder> embedder = runtime().models().CollectionEmbedder();
    if (!embedder.ok()) return embedder.status();
    document->given->embedder = header.embedder().empty() || header.embedder() == embedder->fingerprint
                                    ? header.embedder()
                                    : retrieval::GivenEmbedder(header.embedder());
    return document;
  }

  // Whether the collection takes it; what waits is put before, so that it is what the document is compared with.
  absl::Status Check(const retrieval::Document& document) {
    const auto embedder = [](const retrieval::Document& one) {
      return one.given && !one.given->vectors.empty() ? one.given->embedder : "";
    };
    if (!batch_.empty() && embedder(batch_.back()) != embedder(document)) {
      if (absl::Status status = Commit(); !status.ok()) return status;
    }
    absl::StatusOr<CollectionStore::Handle> collection = runtime().collections().Use(collection_);
    if (!collection.ok()) return collection.status();
    return (*collection)->Check(document);
  }

  absl::Status Commit() {
    if (batch_.empty()) return absl::OkStatus();
    absl::StatusOr<CollectionStore::Handle> collection = runtime().collections().Use(collection_);
    if (!collection.ok()) return collection.status();
    absl::StatusOr<std::vector<retrieval::PutOutcome>> outcomes = (*collection)->Put(batch_);
    if (!outcomes.ok()) return outcomes.status();
    for (size_t i = 0; i < outcomes->size(); ++i) {
      response_->mutable_results(batch_results_[i])->set_state(ToProto((*outcomes)[i]));
    }
    batch_.clear();
    batch_results_.clear();
    batch_bytes_ = 0;
    return absl::OkStatus();
  }

  v1::PutDocumentsResponse* const response_;
  v1::PutDocumentsRequest request_;
  bool working_ = false;  // a worker has the call
  bool closed_ = false;

  std::string collection_;                    // empty until named
  std::optional<v1::DocumentHeader> header_;  // of the document whose bytes come
  std::string bytes_;
  retrieval::GivenChunks given_;  // the document's pieces so far
  absl::Status given_status_;     // what is wrong with them
  int chunks_seen_ = 0;
  std::vector<retrieval::Document> batch_;  // not yet committed
  std::vector<int> batch_results_;          // their places in the response
  size_t batch_bytes_ = 0;
};

}  // namespace

grpc::ServerReadReactor<v1::PutDocumentsRequest>* StartPutDocuments(Runtime& runtime,
                                                                    grpc::CallbackServerContext* context,
                                                                    v1::PutDocumentsResponse* response) {
  auto call = std::make_shared<PutDocumentsCall>(runtime, context, response);
  call->Start();
  return call.get();
}

}  // namespace blazon::service::rpc
