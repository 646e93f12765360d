#include "service/cli/chunk_preview.h"

#include <utility>
#include <vector>

#include "retrieval/chunker.h"
#include "retrieval/find_files.h"
#include "service/cli/interrupt.h"
#include "service/rpc/convert.h"

namespace blazon::service::cli {
namespace {

absl::Status PreviewFile(const retrieval::FoundFile& file, const AddRequest& request,
                         const retrieval::LoaderOptions& loader, const retrieval::Embedder& embedder,
                         const std::function<void(const PreviewedChunk&)>& show) {
  const absl::StatusOr<retrieval::DocumentFormat> format = retrieval::FormatFromPath(file.file);
  if (!format.ok()) return format.status();
  const absl::StatusOr<std::string> bytes = retrieval::ReadDocumentFile(file.file, loader.limits);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<retrieval::Document> document = retrieval::LoadDocument(*format, *bytes, file.path, loader);
  if (!document.ok()) return document.status();
  document->source = file.source;
  const absl::StatusOr<std::vector<retrieval::Chunk>> chunks =
      retrieval::ChunkDocument(*document, embedder, request.chunker);
  if (!chunks.ok()) return chunks.status();
  for (const retrieval::Chunk& chunk : *chunks) {
    PreviewedChunk shown;
    shown.path = file.path;
    shown.title = document->title;
    shown.heading_path = chunk.heading_path;
    shown.place = document->PlaceAt(chunk.span.begin);
    shown.line = document->Line(chunk.span.begin);
    shown.span = chunk.span;
    shown.text = document->text.substr(chunk.span.begin, chunk.span.size());
    shown.tokens = embedder.count_tokens(chunk.prefix + shown.text);
    show(shown);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AddReport> PreviewChunks(const AddRequest& request, const retrieval::LoaderOptions& loader,
                                        const retrieval::Embedder& embedder,
                                        const std::function<void(const PreviewedChunk&)>& show) {
  absl::StatusOr<retrieval::FoundFiles> found =
      retrieval::FindFiles(request.paths, {request.source, request.include, request.exclude, request.gitignore});
  if (!found.ok()) return found.status();
  AddReport report;
  report.unsupported = found->unsupported;
  report.left_out = found->left_out;
  std::vector<retrieval::SkippedFile> skipped = std::move(found->skipped);
  for (const retrieval::FoundFile& file : found->files) {
    if (Interrupted()) break;
    absl::Status status = PreviewFile(file, request, loader, embedder, show);
    if (!status.ok()) skipped.push_back({retrieval::DocumentId(file.source, file.path), file.path, std::move(status)});
    if (request.strict && !skipped.empty()) break;
  }
  report.stopped = Interrupted();
  if (request.strict && !skipped.empty()) return skipped.front().reason;
  for (const retrieval::SkippedFile& file : skipped) *report.response.add_results() = rpc::ToProto(file);
  return report;
}

}  // namespace blazon::service::cli
