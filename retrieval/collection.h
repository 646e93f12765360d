// A set of documents that can be searched by words and by meaning, durable on disk.
//
// A collection is a folder: collection.db (SQLite: documents, chunks, manifest; the store of record; its pages and log
// are checked at each read), immutable checksummed segments of vectors (segment-N.vec) and of words (segment-N.words),
// the record of what was acknowledged (commits) and a lock file. It may be copied or moved as a folder while no writer
// has it. A change writes its segment's two files (temporary name, fsync, rename, fsync of the folder) and then makes
// one SQLite COMMIT, the only commit point. Segments that no manifest row names are left-overs of a crash; the next
// writer deletes them. A large segment has an approximate index beside it (segment-N.idx), made by BuildIndexes from
// the segment alone: without it searches look at every vector.
//
// Thread safety: all methods may be called from several threads; Put and Delete take turns. Any number of collections,
// in any process, may have the same folder open for reading beside one that has it open for writing; each search sees
// one generation, never a mix.
// Crash safety: a document whose Put returned OK survives a crash of the process or the machine; one whose Put did not
// return is there whole, or as it was before.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retrieval/chunker.h"
#include "retrieval/document.h"
#include "retrieval/embedder.h"
#include "retrieval/files.h"
#include "retrieval/filter.h"
#include "retrieval/segment_index.h"

namespace blazon::retrieval {

enum class OpenMode { kRead, kWrite };

struct CollectionOptions {
  OpenMode mode = OpenMode::kRead;
  bool create = false;     // with kWrite: make the folder and an empty collection when there is none
  Embedder embedder;       // may be left empty for kRead: List, Get, Verify, Stats and search by words then work
  ChunkerOptions chunker;  // of documents put from now on
  std::string holder;      // with kWrite: written into the lock file beside the process id, e.g. a server's address
  int embed_batch = 32;    // chunks embedded together
  IndexKind index = IndexKind::kAuto;  // of a collection that is created; others keep theirs
  SegmentIndex::Limits index_limits;   // a seam for tests
  Files* files = nullptr;              // how segments are written; null for the real file system. A seam for tests
  std::string sqlite_vfs;              // SQLite's VFS by name; empty for the default. A seam for tests
};

enum class SearchMode { kBoth, kWords, kMeaning };
enum class Fusion { kWeightedSum, kReciprocalRank };

struct Query {
  std::string text;           // any string: there is no query syntax. At most kMaxQueryBytes
  std::vector<float> vector;  // [dimension], unit length; empty: `text` is embedded when the mode needs it
  // The vector comes from the collection's own embedder, which only callers may have (GivenEmbedder); else it comes
  // from CollectionOptions::embedder, and cannot be compared with vectors that were given under a name.
  bool vector_is_given = false;
  int64_t count = 8;  // [1, 1000]
  SearchMode mode = SearchMode::kBoth;
  Fusion fusion = Fusion::kWeightedSum;
  // Of the normalised BM25 score in the weighted sum, [0, 1]; the rest is the cosine's. With MiniLM, 0.4 to 0.7 find
  // more than either alone, and 0.5 most, at every chunk size tried.
  double word_weight = 0.5;
  Filter filter;
  int64_t max_per_document = 0;  // results of one document at most; 0: any number
  int64_t neighbours = 0;        // pieces before and after each result to return with it, [0, kMaxNeighbours]
};
inline constexpr int64_t kMaxNeighbours = 8;
inline constexpr size_t kMaxQueryBytes = 2u << 20;
inline constexpr size_t kMaxQueryTerms = 512;  // distinct words; more is kInvalidArgument

// A chunk that stands beside a result in its document.
struct NeighbourChunk {
  int64_t chunk_id = 0;
  Span span;  // it may overlap the result's
  int64_t line = 0;
  std::string text;
};

struct ScoredChunk {
  int64_t chunk_id = 0;  // never used again for another chunk
  std::string document_id;
  std::string source, path, title, heading_path;
  Span span;              // in the document's text
  int64_t line = 0;       // of the source, 1-based, where the chunk starts
  std::string place;      // in the file, such as "page=3" (Document::places); empty: the line tells it
  Box box;                // on the page; empty when it is not known
  std::string text;       // the bytes of the span
  double word_score = 0;  // BM25, 0 when no word matches; larger is better
  // Share of the question's content words, weighted by rarity, that the chunk (title and headings too) has; [0, 1].
  double coverage = 0;
  double cosine = 0;  // of question and chunk; 0 in a search by words, unless the query has a vector
  double score = 0;   // fused; comparable within one result only
  std::vector<NeighbourChunk> before, after;  // Query::neighbours of each, in reading order; fewer at the ends
};

struct DocumentInfo {
  std::string id, source, path, title, parser, encoding, content_digest;
  std::string language;  // ISO 639-1; empty: not known
  int64_t bytes = 0;     // of text
  int64_t chunks = 0;
  std::map<std::string, std::string> metadata;
};

struct DocumentPage {
  std::vector<DocumentInfo> documents;  // by source, then path
  std::string next_page_token;          // empty after the last page
};

// What Collection::Export will visit.
struct ExportedTotals {
  int64_t documents = 0, chunks = 0;
  int64_t dimension = 0;  // 0: there was never a vector
  std::string embedder;   // fingerprint
  IndexKind index = IndexKind::kAuto;
};

enum class PutOutcome { kAdded, kReplaced, kUnchanged };

struct CollectionStats {
  int64_t generation = 0, documents = 0, chunks = 0, segments = 0, vectors = 0, dead_vectors = 0;
  int64_t text_bytes = 0, database_bytes = 0, segment_bytes = 0;
  int64_t dimension = 0;
  std::string embedder;                      // fingerprint; empty before the first document
  IndexKind index = IndexKind::kAuto;        // the setting
  IndexKind used_index = IndexKind::kExact;  // what the largest segment has
  int64_t indexed_vectors = 0;               // of segments that have one; of the others each is looked at
  // Of the indexed segments, as SegmentIndex::Facts has it, weighted by size; 1 when there are none.
  double index_recall = 1;
  int64_t index_bytes = 0;
  int64_t word_bytes = 0;                       // of word indexes
  std::map<std::string, std::string> settings;  // all of SetSetting
};

class Collection {
 public:
  // kNotFound: no collection there, and not `create`.
  // kFailedPrecondition: built with another embedder; the message holds the command that re-embeds it.
  // kDataLoss: a file fails its check; the message names the file and the remedy. Nothing is changed. Vectors are read
  // and checked by the first search or change that needs them, and so are word indexes of a collection that is open for
  // reading: opening takes no longer for a million chunks than for ten, and a damaged collection can still be listed,
  // and searched by what is whole. For writing, each file of vectors must be there and as long as the manifest says.
  // kUnavailable: another writer has it; returned at once, the message names the holder.
  static absl::StatusOr<std::unique_ptr<Collection>> Open(const std::filesystem::path& folder,
                                                          CollectionOptions options);
  ~Collection();
  Collection(const Collection&) = delete;
  Collection& operator=(const Collection&) = delete;

  // Adds or replaces documents, all of them in one commit; durable when it returns. Outcome i belongs to documents[i]:
  // a document with unchanged content, title, metadata, language (where one is given), parser, chunker and embedder
  // costs no embedding. Twice the same
  // (source, path), or chunks or vectors that do not fit their document (Document::given): kInvalidArgument.
  // A collection has vectors of one embedder: this one's, or, when its first vectors were given under a name
  // (GivenEmbedder), that one's; then every document must bring its vectors, and a search by meaning the question's.
  // Vectors of another embedder than the collection's: kFailedPrecondition.
  // kResourceExhausted: the disk is full; kFailedPrecondition: open for reading. After an error the collection is as it
  // was.
  absl::StatusOr<std::vector<PutOutcome>> Put(absl::Span<const Document> documents);

  // What Put would say of this document now, as far as its chunks, vectors and names go; OK when it would take it.
  absl::Status Check(const Document& document) const;

  // Removes documents by id in one commit; returns how many there were. Unknown ids are not an error.
  absl::StatusOr<int64_t> Delete(absl::Span<const std::string> document_ids);

  // Keeps a short text with the collection for those who use it, to whom alone it means something; durable when it
  // returns, and copied, moved and repaired with the rest. name: of letters, digits and '_'. Empty value: none any
  // more.
  absl::Status SetSetting(const std::string& name, const std::string& value);
  absl::StatusOr<std::string> Setting(const std::string& name) const;  // empty: there is none

  // Builds the approximate indexes that large segments lack, measures them, and puts them to use; searches and changes
  // go on meanwhile. Call it after many documents were put: some tenths of a millisecond a vector. `stop`, when given,
  // is asked now and then: true ends it with kCancelled; indexes that are ready stay. kFailedPrecondition: open for
  // reading.
  absl::Status BuildIndexes(const std::function<bool()>& stop = nullptr);

  // The query.count best live chunks, best first; fewer only when fewer live chunks match the filter (or, with kWords,
  // the words), or max_per_document leaves fewer. Where segments have an approximate index, some of the best by meaning
  // may be missing: Stats says how many were when it was measured. What a filter lets through is remembered for the
  // eight used last, 8 bytes a chunk, until the collection changes.
  absl::StatusOr<std::vector<ScoredChunk>> Search(const Query& query) const;

  // The document with its text; sections and maps to the source are not kept. kNotFound.
  absl::StatusOr<Document> Get(const std::string& document_id) const;
  absl::StatusOr<DocumentPage> List(int64_t page_size = 100, const std::string& page_token = "",
                                    const Filter& filter = {}) const;

  // Visits every document of one generation, by source, then path, with its chunks and their vectors in
  // Document::given: put into an empty collection of the same embedder, each makes the same chunks again. `begin` comes
  // first. An error that one of them returns ends it and is returned. Memory: the collection's vectors and one
  // document. kFailedPrecondition: an older collection format.
  absl::Status Export(const std::function<absl::Status(const ExportedTotals&)>& begin,
                      const std::function<absl::Status(const Document&)>& visit) const;

  // True when Put of a document with these traits would find it unchanged; lets an indexer skip reading it.
  absl::StatusOr<bool> IsCurrent(const std::string& source, const std::string& path, const std::string& content_digest,
                                 const std::string& parser) const;

  absl::StatusOr<CollectionStats> Stats() const;

  // VerifyCollection (collection_care.h) of its folder: OK, or kDataLoss that lists the damage and the remedy.
  absl::Status Verify() const;

  const std::filesystem::path& folder() const;

 private:
  class Impl;
  explicit Collection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The id of a document: a digest of its source's name and its path; unique within a collection.
std::string DocumentId(const std::string& source, const std::string& path);

// Who has the collection in `folder` open for writing; nullopt when nobody has.
struct LockHolder {
  int64_t pid = 0;
  std::string holder;  // CollectionOptions::holder
};
std::optional<LockHolder> FindWriter(const std::filesystem::path& folder);

}  // namespace blazon::retrieval
