// What the commands need done, in the messages of the wire: by this process, or by a server.
//
// Thread safety: one thread at a time; callbacks come from the thread that called. Ctrl-C ends a call: what was
// generated so far comes back with FINISH_REASON_CANCELLED, or kCancelled where there is nothing to give.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "blazon/v1/answer.pb.h"
#include "blazon/v1/caption.pb.h"
#include "blazon/v1/generation.pb.h"
#include "blazon/v1/index.pb.h"
#include "blazon/v1/model.pb.h"
#include "retrieval/chunker.h"
#include "service/model_store.h"
#include "service/reranker.h"

namespace blazon::retrieval {
class DigestCache;
}

namespace blazon::service::cli {

using OnText = std::function<void(std::string_view)>;

// What `index add` and `index sync` have got through. Totals are 0 while they are not known.
struct AddProgress {
  bool indexing = false;  // false: files are compared with the collection; true: those new or changed are indexed
  int64_t done = 0, total = 0;
  int64_t bytes = 0, total_bytes = 0;
  std::string path;
};

struct AddRequest {
  std::string collection;
  std::vector<std::filesystem::path> paths;
  std::string source;                         // empty: the folder's own name
  std::vector<std::string> include, exclude;  // retrieval::FindOptions
  bool gitignore = true;
  bool prune = false;
  bool strict = false;
  bool dry_run = false;        // only say what would be done
  double near_duplicates = 0;  // IndexerOptions::near_duplicates
  retrieval::ChunkerOptions chunker;
  std::string json_text;                        // LoaderOptions::json_text
  std::map<std::string, std::string> metadata;  // IndexerOptions::metadata
  std::string language;                         // IndexerOptions::language
  retrieval::DigestCache* digests = nullptr;
  std::function<void(const AddProgress&)> progress;
};

struct AddReport {
  struct Duplicate {
    std::string path, same_as;
  };
  struct NearDuplicate {
    std::string path, other;
    double similarity = 0;
  };
  v1::PutDocumentsResponse response;  // one result for each document, refused ones included
  std::vector<std::string> gone;      // paths of documents without a file
  std::vector<Duplicate> duplicates;  // files that are not documents, as others are the same
  std::vector<NearDuplicate> near_duplicates;
  int64_t pruned = 0;       // of those that are gone
  int64_t unsupported = 0;  // files in folders that are of no kind that can be read
  int64_t left_out = 0;     // files and folders that patterns left out
  bool stopped = false;     // by Ctrl-C; what the response names is durable
};

// A piece that a document would be cut into.
struct PreviewedChunk {
  std::string path, title, heading_path, place;
  int64_t line = 0;      // of the file
  retrieval::Span span;  // of the document's text
  int64_t tokens = 0;    // of what would be embedded: title and headings included
  std::string text;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // `on_text` gets the first sequence's text as it comes.
  // on_reasoning: gets reasoning where the request wants it apart; may be null.
  virtual absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request, const OnText& on_text,
                                                        const OnText& on_reasoning) = 0;
  virtual absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request) = 0;
  virtual absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request) = 0;
  virtual absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request) = 0;
  virtual absl::StatusOr<v1::EmbedResponse> Embed(const v1::EmbedRequest& request) = 0;

  virtual absl::StatusOr<v1::CaptionResponse> Caption(const v1::CaptionRequest& request, const OnText& on_text) = 0;
  // Captions what `next` gives until it gives nullopt; several are under way at once. `done` gets the answers in the
  // order of the requests. An error of one picture is in its answer; the status is of the whole.
  virtual absl::Status CaptionImages(const std::function<std::optional<v1::CaptionImagesRequest>()>& next,
                                     const std::function<void(const v1::CaptionImagesResponse&)>& done) = 0;

  // request.collection: a folder in this process, a name on a server.
  virtual absl::StatusOr<v1::AskResponse> Ask(const v1::AskRequest& request,
                                              const std::function<void(const v1::AskSources&)>& on_sources,
                                              const OnText& on_text) = 0;

  // kAlreadyExists.
  virtual absl::StatusOr<v1::CreateCollectionResponse> CreateCollection(const v1::CreateCollectionRequest& request) = 0;
  virtual absl::StatusOr<v1::UpdateCollectionResponse> UpdateCollection(const v1::UpdateCollectionRequest& request) = 0;
  virtual absl::StatusOr<AddReport> AddDocuments(const AddRequest& request) = 0;
  // Shows what AddDocuments would make of the files, and changes nothing: a result for each file that it would refuse.
  virtual absl::StatusOr<AddReport> PreviewDocuments(const AddRequest& request,
                                                     const std::function<void(const PreviewedChunk&)>& show) = 0;
  virtual absl::StatusOr<v1::GetDocumentResponse> GetDocument(const v1::GetDocumentRequest& request) = 0;
  virtual absl::StatusOr<v1::ListDocumentsResponse> ListDocuments(const v1::ListDocumentsRequest& request) = 0;
  virtual absl::StatusOr<v1::DeleteDocumentsResponse> DeleteDocuments(const v1::DeleteDocumentsRequest& request) = 0;
  virtual absl::StatusOr<v1::SearchResponse> Search(const v1::SearchRequest& request) = 0;
  virtual absl::StatusOr<v1::GetCollectionResponse> GetCollection(const v1::GetCollectionRequest& request) = 0;
  virtual absl::StatusOr<v1::VerifyCollectionResponse> VerifyCollection(const v1::VerifyCollectionRequest& request) = 0;
  // request.snapshot: a folder to be made in this process, a name on a server.
  virtual absl::StatusOr<v1::SnapshotCollectionResponse> SnapshotCollection(
      const v1::SnapshotCollectionRequest& request) = 0;

  virtual absl::StatusOr<v1::ListModelsResponse> ListModels() = 0;

  // Of a server; a process by itself has the one adapter of --adapter, and says so.
  virtual absl::StatusOr<v1::ListAdaptersResponse> ListAdapters(const v1::ListAdaptersRequest& request) = 0;
  virtual absl::StatusOr<v1::LoadAdapterResponse> LoadAdapter(const v1::LoadAdapterRequest& request) = 0;
  virtual absl::StatusOr<v1::UnloadAdapterResponse> UnloadAdapter(const v1::UnloadAdapterRequest& request) = 0;
};

// models must outlive the backend. reranker: for searches that ask for one; null: none.
std::unique_ptr<Backend> MakeLocalBackend(ModelStore& models, std::unique_ptr<Reranker> reranker);
std::unique_ptr<Backend> MakeRemoteBackend(const std::string& address);

}  // namespace blazon::service::cli
