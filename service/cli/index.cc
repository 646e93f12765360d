// blazon index: fills collections of documents, and looks into them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/filter_options.h"
#include "service/cli/input.h"
#include "service/cli/search_options.h"
#include "service/rpc/convert_retrieval.h"

namespace blazon::service::cli {
namespace {

constexpr size_t kExcerptBytes = 160;
constexpr int32_t kResults = 8;

struct IndexFlags {
  std::string collection;
  std::string kind = "auto";  // create
  // list, delete, search
  FilterFlags filter;
  SearchFlags search;
  std::string query;
  int32_t max_per_document = 0, neighbours = 0;
  std::vector<std::string> documents;
  std::optional<int32_t> count;
};

int RunCreate(const IndexFlags& flags, Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  v1::CreateCollectionRequest request;
  request.set_collection(flags.collection);
  request.set_index(rpc::ToProto(*retrieval::ParseIndexKind(flags.kind)));
  absl::StatusOr<v1::CreateCollectionResponse> response = (*backend)->CreateCollection(request);
  if (!response.ok()) return Fail(response.status());
  if (context.json) PrintJson(*response);
  return kDone;
}

// Calls `visit` for each document of the collection that passes the filter.
absl::Status ForEachDocument(Backend& backend, const std::string& collection, const v1::Filter& filter,
                             const std::function<void(const v1::Document&)>& visit) {
  v1::ListDocumentsRequest request;
  request.set_collection(collection);
  request.set_page_size(1000);
  *request.mutable_filter() = filter;
  do {
    absl::StatusOr<v1::ListDocumentsResponse> page = backend.ListDocuments(request);
    if (!page.ok()) return page.status();
    for (const v1::Document& document : page->documents()) visit(document);
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  return absl::OkStatus();
}

int RunList(const IndexFlags& flags, Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::Filter> filter = ToFilter(flags.filter);
  if (!filter.ok()) return Fail(filter.status(), kWrongUsage);
  bool any = false;
  const absl::Status status = ForEachDocument(**backend, flags.collection, *filter, [&](const v1::Document& document) {
    any = true;
    if (context.json) {
      PrintJson(document);
    } else {
      std::cout << document.source() << "/" << document.path() << "\t" << document.chunks() << " chunks\t"
                << document.title() << "\n";
    }
  });
  if (!status.ok()) return Fail(status);
  return any ? kDone : kNoMatch;
}

int RunDelete(const IndexFlags& flags, Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  v1::DeleteDocumentsRequest request;
  request.set_collection(flags.collection);
  std::vector<std::string> unknown = flags.documents;
  const absl::Status listed = ForEachDocument(**backend, flags.collection, {}, [&](const v1::Document& document) {
    const std::vector<std::string> names = {document.id(), document.path(),
                                            absl::StrCat(document.source(), "/", document.path())};
    bool wanted = false;
    for (const std::string& name : names) {
      if (std::find(flags.documents.begin(), flags.documents.end(), name) == flags.documents.end()) continue;
      wanted = true;
      std::erase(unknown, name);
    }
    if (wanted) request.add_ids(document.id());
  });
  if (!listed.ok()) return Fail(listed);
  for (const std::string& name : unknown)
    std::cerr << "blazon: no document is called '" << name << "'; 'blazon index list' shows them\n";
  v1::DeleteDocumentsResponse response;
  if (request.ids_size() > 0) {
    absl::StatusOr<v1::DeleteDocumentsResponse> deleted = (*backend)->DeleteDocuments(request);
    if (!deleted.ok()) return Fail(deleted.status());
    response = *std::move(deleted);
  }
  if (context.json) {
    PrintJson(response);
  } else {
    std::cout << response.deleted() << " deleted" << std::endl;
  }
  return unknown.empty() ? kDone : kNoMatch;
}

int RunSearch(const IndexFlags& flags, Context& context) {
  absl::StatusOr<std::string> query = TextOrInput(flags.query);
  if (!query.ok()) return Fail(query.status());
  v1::SearchRequest request;
  request.set_collection(flags.collection);
  request.set_query(*std::move(query));
  request.set_count(flags.count.value_or(kResults));
  if (absl::Status status = ToRequest(flags.search, request); !status.ok()) return Fail(status, kWrongUsage);
  SetRerank(flags.search, context, request);
  request.set_max_per_document(flags.max_per_document);
  request.set_neighbours(flags.neighbours);
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::SearchResponse> response = (*backend)->Search(request);
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
  } else {
    for (const v1::ScoredChunk& chunk : response->results()) {
      std::string excerpt = absl::StrReplaceAll(chunk.text(), {{"\n", " "}});
      if (excerpt.size() > kExcerptBytes) {
        size_t end = kExcerptBytes;
        while (end > 0 && (excerpt[end] & 0xC0) == 0x80) --end;  // not inside a character
        excerpt = absl::StrCat(excerpt.substr(0, end), "...");
      }
      std::cout << Citation(chunk, chunk.line()) << ": " << excerpt << "\n";
    }
  }
  return response->results_size() == 0 ? kNoMatch : kDone;
}

std::string KindName(v1::IndexKind kind) {
  const absl::StatusOr<retrieval::IndexKind> known = rpc::FromProto(kind);
  return known.ok() ? std::string(retrieval::IndexKindName(*known)) : "unknown";
}

int RunStats(const IndexFlags& flags, Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  v1::GetCollectionRequest request;
  request.set_collection(flags.collection);
  absl::StatusOr<v1::GetCollectionResponse> response = (*backend)->GetCollection(request);
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
  } else {
    std::cout << response->collection().documents() << " documents in " << response->collection().chunks()
              << " chunks; embedder "
              << (response->collection().embedder().empty() ? "not set yet" : response->collection().embedder())
              << "\n";
    const v1::SearchIndex& index = response->collection().index();
    if (index.indexed_chunks() > 0) {
      std::cout << absl::StrFormat(
          "%d of %d vectors under an approximate index (%s): it finds %.3f of the ten nearest, measured on the "
          "collection's own vectors\n",
          index.indexed_chunks(), response->collection().chunks(), KindName(index.used()), index.recall_at_10());
    } else {
      std::cout << "every vector is looked at (index " << KindName(index.kind()) << ")\n";
    }
    if (response->collection().has_refuse_below()) {
      std::cout << absl::StrFormat("questions are refused below a confidence of %.4f (kept by 'index eval --keep')\n",
                                   response->collection().refuse_below());
    }
    std::cout << std::flush;
  }
  return kDone;
}

}  // namespace

void AddIndex(CLI::App& app, Context& context) {
  auto flags = std::make_shared<IndexFlags>();
  CLI::App* index = app.add_subcommand("index", "Fill collections of documents and search them");
  index->require_subcommand(1);
  index->footer(R"(A collection is a folder in this process, and a name under the server's --data with --server.

Examples:
  blazon index add --collection ./notes ~/notes
  blazon index sync --prune --exclude 'drafts/' --collection ./notes ~/notes
  blazon index search --collection ./notes "opening hours"
  blazon index delete --collection ./notes old.md)");
  const auto add_command = [&](const char* name, const char* about, auto run) {
    CLI::App* command = index->add_subcommand(name, about);
    command->add_option("--collection", flags->collection, "The collection")->type_name("DIR")->required();
    command->callback(
        [flags, &context, run] { context.run = [flags, &context, run] { return run(*flags, context); }; });
    return command;
  };

  CLI::App* create =
      add_command("create", "Make an empty collection; 'index add' makes one of kind auto by itself", RunCreate);
  create
      ->add_option(
          "--kind", flags->kind,
          "How near vectors are found: by looking at each (exact), by a graph (hnsw), by lists around centroids "
          "(ivf, ivfpq), or by what suits the size (auto)")
      ->check(CLI::IsMember({"auto", "exact", "hnsw", "ivf", "ivfpq"}))
      ->capture_default_str();

  AddIndexFiles(*index, context);

  CLI::App* list = add_command("list", "List the documents", RunList);
  AddFilterOptions(*list, flags->filter);

  CLI::App* remove = add_command("delete", "Remove documents", RunDelete);
  remove->add_option("document", flags->documents, "Their paths, or ids, as 'index list' shows them")->required();

  CLI::App* search =
      add_command("search", "Find the pieces that fit a query best, as path:line or path#page", RunSearch);
  search->add_option("query", flags->query, "What to look for; - reads standard input")->required();
  search->add_option("--count", flags->count, "Pieces at most, 1 to 1000 (default 8)");
  AddSearchOptions(*search, flags->search);
  AddRerankOptions(*search, flags->search, context);
  search
      ->add_option("--max-per-document", flags->max_per_document,
                   "Pieces of one document at most (default: any number)")
      ->check(CLI::Range(1, 1000));
  search->add_option("--neighbours", flags->neighbours, "With --json, also the pieces before and after each, so many")
      ->check(CLI::Range(0, 8));

  add_command("stats", "Count what is in it", RunStats);
  AddIndexCare(*index, context);
  AddIndexTransfer(*index, context);
  AddIndexEval(*index, context);
}

}  // namespace blazon::service::cli
