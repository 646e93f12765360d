// The inside of Collection, shared by the files that implement it: collection.cc (schema), collection_open.cc,
// collection_change.cc (delete, commit), collection_put.cc (add), collection_search.cc, collection_list.cc (read one
// and list), collection_export.cc (read all), collection_filter.cc (narrow), collection_index.cc (approximate indexes),
// collection_words.cc (word indexes), collection_verify.cc.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "retrieval/collection.h"
#include "retrieval/commit_record.h"
#include "retrieval/fusion.h"
#include "retrieval/lock_file.h"
#include "retrieval/segment.h"
#include "retrieval/sqlite.h"
#include "retrieval/word_index_writer.h"
#include "retrieval/word_search.h"

namespace blazon::retrieval {

inline constexpr const char* kDatabaseFile = "collection.db";  // in the folder
inline constexpr const char* kSettingKey = "setting.";         // how manifest rows of Collection::SetSetting begin

class Collection::Impl {
 public:
  static absl::StatusOr<std::unique_ptr<Impl>> Open(const std::filesystem::path& folder, CollectionOptions options);

  absl::StatusOr<std::vector<PutOutcome>> Put(absl::Span<const Document> documents);
  absl::Status Check(const Document& document) const;
  absl::StatusOr<int64_t> Delete(absl::Span<const std::string> document_ids);
  absl::Status SetSetting(const std::string& name, const std::string& value);
  absl::StatusOr<std::string> Setting(const std::string& name) const;
  absl::Status BuildIndexes(const std::function<bool()>& stop);
  absl::StatusOr<std::vector<ScoredChunk>> Search(const Query& query) const;
  absl::StatusOr<Document> Get(const std::string& document_id) const;
  absl::StatusOr<DocumentPage> List(int64_t page_size, const std::string& page_token, const Filter& filter) const;
  absl::Status Export(const std::function<absl::Status(const ExportedTotals&)>& begin,
                      const std::function<absl::Status(const Document&)>& visit) const;
  absl::StatusOr<bool> IsCurrent(const std::string& source, const std::string& path, const std::string& digest,
                                 const std::string& parser) const;
  absl::StatusOr<CollectionStats> Stats() const;
  absl::Status Verify() const;
  const std::filesystem::path& folder() const { return folder_; }

 private:
  struct LiveSegment {
    std::shared_ptr<const Segment> segment;
    std::string checksum;                       // the segment's
    std::shared_ptr<const SegmentIndex> index;  // null: every vector is looked at
    std::vector<uint8_t> live;                  // one bit a row
    int64_t live_count = 0;

    // The `count` best of the allowed rows: those of a filter, of which there are allowed_count, or all live ones.
    absl::StatusOr<std::vector<VectorHit>> Search(absl::Span<const float> query, int64_t count,
                                                  const std::vector<uint8_t>& allowed, int64_t allowed_count) const {
      return index ? index->Search(*segment, query, count, allowed, allowed_count)
                   : segment->Search(query, count, allowed);
    }
  };
  // The vectors of one generation.
  struct View {
    int64_t generation = -1;
    std::map<int64_t, LiveSegment> segments;  // by number
    int64_t live_count = 0;
  };
  // The words of one generation.
  struct WordView {
    WordView(int64_t generation, std::map<int64_t, WordSearch::Part> parts)
        : generation(generation), search(std::move(parts)) {}
    int64_t generation;
    WordSearch search;
  };
  // What the manifest says of a segment. Its vectors are not read unless they move.
  struct SegmentRow {
    std::string checksum;
    int64_t total = 0, live = 0;  // vectors
  };
  // What the manifest says of the collection's vectors.
  struct Kept {
    std::string embedder;   // fingerprint; empty before the first vector
    int64_t dimension = 0;  // 0 before the first vector
  };
  // What a change does to chunks; filled while SQL runs, carried out by CommitChange.
  struct Change {
    int64_t generation = 0;                               // before the change
    int64_t dimension = 0;                                // of the vectors before the change; 0: there are none
    std::map<int64_t, SegmentRow> segments;               // before the change, by number
    std::shared_ptr<const WordView> words;                // before the change
    std::vector<std::pair<int64_t, const float*>> added;  // chunk id and vector, ids ascending
    WordIndexBuilder added_words;                         // of the same chunks
    std::map<int64_t, int64_t> newly_dead;                // segment number -> chunks that die
    int64_t segment_number = 0;                           // where `added` goes
    Kept kept;                                            // of `added`
  };
  // The chunks that a filter lets through in one generation.
  struct Filtered {
    std::string key;            // generation and condition
    std::vector<int64_t> keys;  // of documents, ascending
    std::vector<int64_t> ids;   // of chunks, ascending
  };
  // A read connection with an open read transaction, and the views of its generation that are wanted.
  class Reading;
  // What one search looks for, and where.
  struct Sought {
    const Reading& reading;
    bool by_words = false, by_meaning = false;
    std::vector<float> vector = {};                      // of the question; empty: there is none
    WordSearch::Weighed words = {};                      // of the question, also when only vectors are searched
    std::shared_ptr<const Filtered> filtered = nullptr;  // null: everything
    absl::flat_hash_map<int64_t, WordSearch::Allowed> allowed = {};  // by segment, when there is a filter
  };

  Impl(std::filesystem::path folder, CollectionOptions options)
      : folder_(std::move(folder)), options_(std::move(options)) {}

  absl::Status OpenDatabase();
  absl::Status CheckManifest(Database& database);  // sets format_
  // That nothing acknowledged is missing: before the database is opened (opening recovers the log, and would cut off
  // what follows the first frame that does not fit), and after.
  absl::StatusOr<bool> CheckCommitRecord() const;  // whether the log is the record's
  absl::Status CheckGeneration(Database& database) const;
  // A collection of an older format becomes one of this format.
  absl::Status Migrate(std::unique_ptr<Database> database);
  // Makes the word index of each segment that the database names, and names it there.
  absl::Status IndexWords(Database& database);
  absl::Status RemoveOrphans();
  // That each segment's file is there and as long as it must be. What is in it is checked when it is read.
  absl::Status CheckSegmentFiles();
  std::filesystem::path database_file() const { return folder_ / kDatabaseFile; }
  absl::StatusOr<std::unique_ptr<Database>> Connect(bool create) const;

  // Starts a change: the transaction must be open and untouched.
  absl::StatusOr<Change> StartChange();
  absl::Status RemoveDocument(int64_t key, Change& change);
  static absl::StatusOr<Kept> KeptVectors(Database& database);
  // Whether a document may stand in the collection, its chunks and their vectors' numbers apart.
  absl::Status Fits(const Document& document, const Kept& kept) const;
  // Whether the document has just these pieces and, unless they are empty, vectors.
  absl::StatusOr<bool> HasPieces(int64_t key, const std::vector<GivenChunk>& pieces,
                                 const std::vector<float>& vectors) const;
  absl::Status CommitChange(Transaction& transaction, Change& change);
  // The segments whose live vectors go into the change's segment.
  absl::StatusOr<std::set<int64_t>> ChooseMerged(const Change& change) const;
  absl::Status RecordCommit();

  // A segment that a view has in memory, else from its file.
  absl::StatusOr<std::shared_ptr<const Segment>> SegmentOf(int64_t number, int64_t dimension,
                                                           const std::string& checksum) const;
  // The view of the generation that `database`'s transaction sees.
  absl::StatusOr<std::shared_ptr<const View>> ViewOf(Database& database,
                                                     std::shared_ptr<const Segment> fresh = nullptr) const;
  // The words that `database`'s transaction sees.
  absl::StatusOr<std::shared_ptr<const WordView>> WordsOf(Database& database,
                                                          std::shared_ptr<const WordIndex> fresh = nullptr) const;

  // What the manifest asks for.
  absl::StatusOr<IndexKind> AskedIndex(Database& database) const;
  // Gives the segment the index that lies beside it, when it is whole and what was asked for.
  void AttachIndex(IndexKind asked, LiveSegment& entry) const;
  absl::Status AddIndexStats(Database& database, CollectionStats& stats) const;

  // `database`'s transaction is open.
  absl::StatusOr<std::shared_ptr<const Filtered>> Evaluate(Database& database, const Filter& filter) const;
  // The question's vector: the given one, else the embedder's; none when words alone are searched.
  absl::StatusOr<std::vector<float>> VectorOf(const Query& query) const;
  // Whether the question's vector can be compared with the collection's.
  absl::Status CheckVector(Database& database, const Query& query, const std::vector<float>& vector) const;
  // The `depth` best chunks by words, and as many by meaning, in no order; with a vector, all have their cosine.
  // Returns whether there may be more.
  absl::StatusOr<bool> FindCandidates(const Sought& sought, int64_t depth, std::vector<Candidate>& candidates) const;
  // At most max_per_document candidates of each document, and query.count in all.
  absl::Status Select(Database& database, const Query& query, std::vector<Candidate>& candidates) const;
  absl::StatusOr<std::vector<ScoredChunk>> ChunksOf(Database& database, absl::Span<const Candidate> candidates) const;
  absl::Status AddNeighbours(Database& database, const Query& query, std::vector<ScoredChunk>& results) const;

  int64_t format_ = 0;  // of the database, from 1; set when it is opened
  const std::filesystem::path folder_;
  const CollectionOptions options_;
  Files real_files_;
  Files* files_ = nullptr;
  std::unique_ptr<LockFile> lock_;

  std::mutex index_mutex_;  // one BuildIndexes at a time; taken before write_mutex_
  std::mutex write_mutex_;  // guards the next three
  std::unique_ptr<Database> writer_;
  // Never given twice, not even after a failed commit: its pages may still come back from the log.
  int64_t next_segment_ = 1;
  int64_t unrecorded_ = -1;  // a generation that is committed and not yet in the record; -1: none

  mutable std::mutex view_mutex_;
  mutable std::shared_ptr<const View> view_;
  mutable std::shared_ptr<const WordView> word_view_;
  mutable std::mutex filtered_mutex_;
  mutable std::vector<std::shared_ptr<const Filtered>> filtered_;  // used last first
  mutable std::mutex readers_mutex_;
  mutable std::vector<std::unique_ptr<Database>> idle_readers_;
};

class Collection::Impl::Reading {
 public:
  // Starts to read; with `vectors`, view() is that of the transaction's generation, with `words`, words() is.
  static absl::StatusOr<std::unique_ptr<Reading>> Start(const Impl& impl, bool vectors, bool words = false);
  ~Reading();
  Database& database() { return *database_; }
  const View& view() const { return *view_; }
  const WordSearch& words() const { return words_->search; }

 private:
  explicit Reading(const Impl& impl) : impl_(impl) {}
  const Impl& impl_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Transaction> transaction_;
  std::shared_ptr<const View> view_;
  std::shared_ptr<const WordView> words_;
};

// A segment that the manifest names and the folder lacks is lost, unless a newer generation has done without it.
absl::Status MissingIsLost(const absl::Status& status, const std::filesystem::path& folder);

// 1: the first. 2: chunks have a place and a box. 3: pages have checksums, commits a record, chunks a prefix. 4: words
// are indexed beside the segments, not by SQLite's FTS5; documents have a language. Readers read all of them; a writer
// brings an older one to this one.
inline constexpr int64_t kFormat = 4;
inline constexpr int64_t kFirstCheckedFormat = 3;
inline constexpr int64_t kFirstFormatWithWordFiles = 4;
// SQL for the headings of chunk c.
inline std::string HeadingsOf(int64_t format) {
  return format >= kFirstFormatWithWordFiles ? "c.headings"
                                             : "(SELECT c1 FROM chunk_words_content AS w WHERE w.id = c.id)";
}
// SQL for a document's language.
inline const char* LanguageColumn(int64_t format) { return format >= kFirstFormatWithWordFiles ? "language" : "''"; }
// Makes the word index of a segment with these rows from the stored texts.
absl::StatusOr<std::shared_ptr<const WordIndex>> BuildWords(Database& database, int64_t format, int64_t number,
                                                            absl::Span<const int64_t> ids);
// The rows of a segment as the database has them, ascending.
absl::StatusOr<std::vector<int64_t>> RowsOfSegment(Database& database, int64_t number);
// The format that the manifest names; kFailedPrecondition when it is not one of the above.
absl::StatusOr<int64_t> FormatOf(Database& database, const std::filesystem::path& folder);
// Opens a collection's database as it is used; with `create`, a file that is not there is made.
absl::StatusOr<std::unique_ptr<Database>> ConnectDatabase(const std::filesystem::path& file, bool create,
                                                          const std::string& sqlite_vfs);
absl::Status CreateSchema(Database& database);
// Rows of options.embedder.dimension, in batches of like length; each is checked to be of unit length.
absl::StatusOr<std::vector<float>> EmbedAll(const CollectionOptions& options, const std::vector<std::string>& texts);
absl::Status ReadOnly();  // what a change says of a collection that is open for reading
absl::Status SetManifest(Database& database, std::string_view key, std::string_view value);

// As chunks.box has it: "left top width height", empty for an empty box; and back.
std::string BoxText(const Box& box);
Box ParseBox(const std::string& text);
// The current row of "SELECT key, source, path, title, parser, encoding, digest, text, language ..." of documents,
// without metadata.
Document DocumentOfRow(const Rows& rows);

// The value of a manifest row, empty when there is none.
absl::StatusOr<std::string> ManifestValue(Database& database, std::string_view key);
// Of the collection's vectors; 0 when there are none.
absl::StatusOr<int64_t> DimensionOf(Database& database);

}  // namespace blazon::retrieval
