#include "retrieval/chunker.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "retrieval/document_loader.h"
#include "retrieval/words.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

// What holds for the chunks of any document: within the limit, in order, whole characters, and nothing but white space
// and headings left out.
void CheckChunks(const Document& document, const std::vector<Chunk>& chunks, const Embedder& embedder,
                 const ChunkerOptions& options) {
  size_t covered = 0;
  std::string uncovered;
  for (const Chunk& chunk : chunks) {
    ASSERT_LT(chunk.span.begin, chunk.span.end);
    ASSERT_LE(chunk.span.end, document.text.size());
    const std::string text = document.text.substr(chunk.span.begin, chunk.span.size());
    ASSERT_TRUE(IsValidUtf8(text));
    ASSERT_EQ(StripWhitespace(text).size(), text.size());
    ASSERT_LE(embedder.count_tokens(chunk.prefix + text),
              options.kind == ChunkerKind::kHeading || options.kind == ChunkerKind::kPage ? embedder.max_tokens
                                                                                          : options.target_tokens);
    ASSERT_GT(chunk.span.end, covered) << "a chunk adds nothing";
    if (chunk.span.begin > covered) uncovered += document.text.substr(covered, chunk.span.begin - covered);
    covered = chunk.span.end;
  }
  uncovered += document.text.substr(covered);
  for (const Section& section : document.sections) {
    const size_t at = uncovered.find(section.headings.back());
    if (at != std::string::npos) uncovered.erase(at, section.headings.back().size());
  }
  EXPECT_EQ(StripWhitespace(uncovered), "");
}

TEST(ChunkerTest, ShortDocumentIsOneChunk) {
  const Document document = TextDocument("note.txt", "  One short note. With two sentences.\n");
  const auto chunks = ChunkDocument(document, SampleEmbedder(), {});
  ASSERT_TRUE(chunks.ok());
  ASSERT_EQ(chunks->size(), 1u);
  EXPECT_EQ((*chunks)[0].span, (Span{2, 37}));
  EXPECT_EQ((*chunks)[0].prefix, "note\n");
  CheckChunks(document, *chunks, SampleEmbedder(), {});
}

TEST(ChunkerTest, SectionsAreKeptApartAndTheirHeadingsGoIntoThePrefixAlone) {
  const Document document = *LoadDocument(
      DocumentFormat::kMarkdown,
      "# Bees\n\nIntroduction here.\n\n## Care\n\n### Winter\n\nWrap the hive.\n\n### Summer\n\nGive them water.\n",
      "bees.md");
  const auto chunks = *ChunkDocument(document, SampleEmbedder(), {});
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(document.title, "Bees");
  EXPECT_EQ(chunks[0].heading_path, "");
  EXPECT_EQ(chunks[0].prefix, "Bees\n");
  EXPECT_EQ(document.text.substr(chunks[0].span.begin, chunks[0].span.size()), "Introduction here.");
  EXPECT_EQ(chunks[1].heading_path, "Care > Winter");
  EXPECT_EQ(chunks[1].prefix, "Bees\nCare > Winter\n");
  EXPECT_EQ(document.text.substr(chunks[1].span.begin, chunks[1].span.size()), "Wrap the hive.");
  EXPECT_EQ(chunks[2].heading_path, "Care > Summer");
  CheckChunks(document, chunks, SampleEmbedder(), {});
}

TEST(ChunkerTest, HeadingsAloneAreCutAsText) {
  const Document document = *LoadDocument(DocumentFormat::kMarkdown, "# Only\n\n## Headings\n", "h.md");
  const auto chunks = *ChunkDocument(document, SampleEmbedder(), {});
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(document.text.substr(chunks[0].span.begin, chunks[0].span.size()), "Only\n\nHeadings");
}

TEST(ChunkerTest, LongTextOverlapsInWholeSentencesAndPrefersParagraphs) {
  std::string text;
  for (int i = 0; i < 120; ++i)
    absl::StrAppend(&text, "Sentence number ", i, " tells of a thing.", i % 6 == 5 ? "\n\n" : " ");
  const Document document = TextDocument("long.txt", text);
  ChunkerOptions options;
  options.target_tokens = 128;
  const auto chunks = *ChunkDocument(document, SampleEmbedder(), options);
  CheckChunks(document, chunks, SampleEmbedder(), options);
  ASSERT_GT(chunks.size(), 5u);
  for (size_t i = 1; i < chunks.size(); ++i) {
    const auto overlap = static_cast<double>(chunks[i - 1].span.end) - static_cast<double>(chunks[i].span.begin);
    EXPECT_GT(overlap, 0);
    EXPECT_LT(overlap, 0.25 * static_cast<double>(chunks[i].span.size()));
    EXPECT_EQ(document.text.substr(chunks[i].span.begin, 8), "Sentence");
    EXPECT_EQ(document.text[chunks[i - 1].span.end - 1], '.');
    if (i + 1 < chunks.size()) {
      EXPECT_EQ(document.text[chunks[i - 1].span.end], '\n');  // a paragraph's end
    }
  }
  options.overlap = 0;
  const auto apart = *ChunkDocument(document, SampleEmbedder(), options);
  for (size_t i = 1; i < apart.size(); ++i) EXPECT_GE(apart[i].span.begin, apart[i - 1].span.end);
}

std::vector<std::string> TextsOf(const Document& document, const std::vector<Chunk>& chunks) {
  std::vector<std::string> texts;
  for (const Chunk& chunk : chunks) texts.push_back(document.text.substr(chunk.span.begin, chunk.span.size()));
  return texts;
}

TEST(ChunkerTest, SentencesFillChunksWhereverParagraphsEnd) {
  std::string text;
  for (int i = 0; i < 120; ++i)
    absl::StrAppend(&text, "Sentence number ", i, " tells of a thing.", i % 6 == 5 ? "\n\n" : " ");
  const Document document = TextDocument("long.txt", text);
  ChunkerOptions options{.kind = ChunkerKind::kSentence, .target_tokens = 128, .overlap = 0};
  const auto sentences = *ChunkDocument(document, SampleEmbedder(), options);
  CheckChunks(document, sentences, SampleEmbedder(), options);
  for (const std::string& one : TextsOf(document, sentences)) {
    EXPECT_TRUE(one.starts_with("Sentence"));
    EXPECT_TRUE(one.ends_with("."));
  }
  options.kind = ChunkerKind::kRecursive;
  EXPECT_LT(sentences.size(), ChunkDocument(document, SampleEmbedder(), options)->size());
}

TEST(ChunkerTest, AHeadingsTextIsOneChunkWhereTheEmbedderReadsSoMuch) {
  std::string text = "# Bees\n\n## Care\n\n";
  for (int i = 0; i < 5; ++i) absl::StrAppend(&text, "Paragraph ", i, " is of some words more.\n\n");
  text += "## Honey\n\nIt is sweet.\n";
  const Document document = *LoadDocument(DocumentFormat::kMarkdown, text, "bees.md");
  ChunkerOptions options{.kind = ChunkerKind::kHeading, .target_tokens = 32};
  const auto chunks = *ChunkDocument(document, SampleEmbedder(), options);
  CheckChunks(document, chunks, SampleEmbedder(), options);
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].heading_path, "Care");
  EXPECT_EQ(TextsOf(document, chunks)[1], "It is sweet.");
  options.kind = ChunkerKind::kRecursive;
  EXPECT_GT(ChunkDocument(document, SampleEmbedder(), options)->size(), 2u);
}

TEST(ChunkerTest, APageIsOneChunkHeadingsAndAll) {
  Document document = TextDocument("pages.txt", "First\n\nOne page.\n\nSecond\n\nIts text.\n\nThird\n\nMore of it.\n");
  document.places = {{0, "page=1"}, {document.text.find("Second"), "page=2"}};
  for (const char* heading : {"First", "Second", "Third"})
    document.sections.push_back({document.text.find(heading), {heading}});
  const ChunkerOptions options{.kind = ChunkerKind::kPage};
  const auto chunks = *ChunkDocument(document, SampleEmbedder(), options);
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(TextsOf(document, chunks)[0], "First\n\nOne page.");
  EXPECT_EQ(TextsOf(document, chunks)[1], "Second\n\nIts text.\n\nThird\n\nMore of it.");
  EXPECT_EQ(chunks[1].heading_path, "Second");
  document.places.clear();
  EXPECT_EQ(ChunkDocument(document, SampleEmbedder(), options)->size(), 1u);
}

TEST(ChunkerTest, CodeIsCutBeforeDefinitionsAndSmallOnesAreJoined) {
  std::string text = "import os\n\n";
  for (int i = 0; i < 12; ++i) absl::StrAppend(&text, "def small", i, "(x):\n    y = x + ", i, "\n\n    return y\n\n");
  const Document document = *LoadDocument(DocumentFormat::kSource, text, "tool.py");
  const ChunkerOptions options{.kind = ChunkerKind::kCode, .target_tokens = 48, .overlap = 0};
  const auto chunks = *ChunkDocument(document, SampleEmbedder(), options);
  CheckChunks(document, chunks, SampleEmbedder(), options);
  const std::vector<std::string> texts = TextsOf(document, chunks);
  ASSERT_GT(texts.size(), 2u);
  EXPECT_LT(texts.size(), 10u);
  for (size_t i = 1; i < texts.size(); ++i) EXPECT_TRUE(texts[i].starts_with("def small")) << texts[i];
  EXPECT_TRUE(chunks[1].heading_path.starts_with("small")) << chunks[1].heading_path;
  // What is not a program is cut as ever.
  const Document note = TextDocument("note.txt", "One. Two.");
  EXPECT_EQ(TextsOf(note, *ChunkDocument(note, SampleEmbedder(), options)), std::vector<std::string>{"One. Two."});
}

TEST(ChunkerTest, KindsHaveNamesAndVersions) {
  for (const char* name : {"recursive", "sentence", "heading", "page", "code"}) {
    const auto kind = ParseChunkerKind(name);
    ASSERT_TRUE(kind);
    EXPECT_EQ(ChunkerKindName(*kind), name);
    EXPECT_EQ(ChunkerVersion({.kind = *kind}), absl::StrCat(name, "/1 256 0.15"));
  }
  EXPECT_FALSE(ParseChunkerKind("whole"));
}

TEST(ChunkerTest, HostileTextIsCutWithinTheLimit) {
  std::mt19937 random(5);
  std::vector<std::string> texts = {std::string(200000, 'x'),
                                    std::string(50000, '.'),
                                    "",
                                    " \n ",
                                    std::string(3000, '\n') + "end",
                                    "word " + std::string(100000, 'y') + " word"};
  std::string japanese, mixed;
  for (int i = 0; i < 20000; ++i) japanese += "\xe6\x97\xa5";
  for (int i = 0; i < 30000; ++i) {
    const char* pieces[] = {" ", "\n", "a", "\xc3\xa9", "\xf0\x9f\xa6\x8a", ". ", "\n\n", "wordy", "1", "|", "- "};
    mixed += pieces[random() % 11];
  }
  texts.push_back(japanese);
  texts.push_back(mixed);
  for (const std::string& text : texts) {
    for (const int64_t target : {16, 64, 256}) {
      Document document;
      document.path = "hostile";
      document.title = "A title that is rather long for so small a chunk as this";
      document.text = text;
      document.parser = "source/1";
      for (const ChunkerKind kind : {ChunkerKind::kRecursive, ChunkerKind::kSentence, ChunkerKind::kHeading,
                                     ChunkerKind::kPage, ChunkerKind::kCode}) {
        const ChunkerOptions options{.kind = kind, .target_tokens = target};
        const auto chunks = ChunkDocument(document, SampleEmbedder(), options);
        ASSERT_TRUE(chunks.ok()) << chunks.status();
        CheckChunks(document, *chunks, SampleEmbedder(), options);
      }
    }
  }
}

TEST(ChunkerTest, ATokenizerThatSeesOneWordInALongRunDoesNotMakeAHugeChunk) {
  Embedder embedder = SampleEmbedder();
  // As WordPiece reads a run of more than 100 letters.
  embedder.count_tokens = [](std::string_view) { return int64_t{3}; };
  const auto chunks = *ChunkDocument(TextDocument("run.txt", std::string(1 << 20, 'x')), embedder, {});
  for (const Chunk& chunk : chunks) EXPECT_LE(chunk.span.size(), 16u * 256u);
}

TEST(ChunkerTest, OptionsOutOfRangeAreRefused) {
  const Document document = TextDocument("a.txt", "text");
  for (const ChunkerOptions& options :
       {ChunkerOptions{.target_tokens = 15}, ChunkerOptions{.target_tokens = 257}, ChunkerOptions{.overlap = -0.1},
        ChunkerOptions{.overlap = 0.6}, ChunkerOptions{.overlap = std::nan("")}}) {
    EXPECT_EQ(ChunkDocument(document, SampleEmbedder(), options).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace blazon::retrieval
