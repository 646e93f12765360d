#include "retrieval/document_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "absl/strings/str_cat.h"
#include "retrieval/words.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Document Load(DocumentFormat format, const std::string& bytes) {
  const auto document = LoadDocument(format, bytes, "some_file.x");
  EXPECT_TRUE(document.ok()) << document.status();
  if (!document.ok()) return {};
  // Every mapped byte of the text stands in the source (spaces may have been line breaks there).
  if (document->encoding == "UTF-8" && bytes.find('\r') == std::string::npos && !bytes.starts_with("\xef\xbb\xbf")) {
    for (const SourceRun& run : document->source_map) {
      for (size_t i = 0; i < run.length; ++i) {
        const char text = document->text[run.text_begin + i], source = bytes[run.source_begin + i];
        EXPECT_TRUE(text == source || (text == ' ' && std::isspace(static_cast<unsigned char>(source))))
            << "text byte " << run.text_begin + i;
      }
    }
  }
  EXPECT_TRUE(IsValidUtf8(document->text));
  return *document;
}

std::string Repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

TEST(DocumentLoaderTest, PlainTextIsKeptAsItStands) {
  const Document document = Load(DocumentFormat::kText, "Hive diary\n\nMarch: the queen is alive.\n");
  EXPECT_EQ(document.title, "Hive diary");
  EXPECT_EQ(document.text, "Hive diary\n\nMarch: the queen is alive.\n");
  EXPECT_EQ(document.encoding, "UTF-8");
  EXPECT_EQ(document.parser, "text/2");
  EXPECT_EQ(document.Line(document.text.find("March")), 3);
  EXPECT_EQ(Load(DocumentFormat::kText, "no title. here").title, "some file");
  EXPECT_EQ(document.content_digest.size(), 64u);
}

TEST(DocumentLoaderTest, EncodingsAreRecognisedOrRefused) {
  EXPECT_EQ(Load(DocumentFormat::kText,
                 "\xef\xbb\xbf"
                 "caf\xc3\xa9")
                .text,
            "caf\xc3\xa9");
  const Document little = Load(DocumentFormat::kText, std::string("\xff\xfe"
                                                                  "c\0\xe9\0=\xd8\x0a\xde",
                                                                  10));
  EXPECT_EQ(little.text, "c\xc3\xa9\xf0\x9f\x98\x8a");
  EXPECT_EQ(little.encoding, "UTF-16LE");
  EXPECT_EQ(Load(DocumentFormat::kText, std::string("\xfe\xff\0c\0\xe9", 6)).encoding, "UTF-16BE");
  const Document western = Load(DocumentFormat::kText, "caf\xe9 \x93quoted\x94");
  EXPECT_EQ(western.text, "caf\xc3\xa9 \xe2\x80\x9cquoted\xe2\x80\x9d");
  EXPECT_EQ(western.encoding, "windows-1252");
  const Document russian = Load(DocumentFormat::kHtml, "<meta charset=\"koi8-r\"><p>\xf0\xd2\xc9\xd7\xc5\xd4");
  EXPECT_EQ(russian.encoding, "koi8-r");
  EXPECT_EQ(StripWhitespace(russian.text), "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82");
  const auto refused = [](const std::string& bytes) {
    return std::string(LoadDocument(DocumentFormat::kText, bytes, "f.txt").status().message());
  };
  EXPECT_THAT(refused(std::string("PK\3\4\0\0abc", 9)), HasSubstr("binary"));
  EXPECT_THAT(refused("\x89PNG\x0d\x0a\x1a\x0a\x01\x02"), HasSubstr("binary"));
  EXPECT_THAT(refused(std::string(50, '\x01')), HasSubstr("binary"));
  EXPECT_THAT(refused("\xef\xbb\xbf\xff"), HasSubstr("not UTF-8"));
  EXPECT_THAT(refused(std::string("\xff\xfe"
                                  "a",
                                  3)),
              HasSubstr("UTF-16LE"));
  EXPECT_THAT(refused(std::string("\xff\xfe\x00\xd8", 4)), HasSubstr("UTF-16LE"));  // half a surrogate pair
  EXPECT_THAT(refused(""), HasSubstr("no text"));
  EXPECT_THAT(refused(" \n\n"), HasSubstr("no text"));
  LoaderOptions options;
  options.limits.max_bytes = 5;
  EXPECT_THAT(std::string(LoadDocument(DocumentFormat::kText, "too long", "f.txt", options).status().message()),
              HasSubstr("8 bytes; at most 5"));
}

TEST(DocumentLoaderTest, LineEndsAreUnified) {
  const Document document = Load(DocumentFormat::kText, "one\r\ntwo\rthree\n");
  EXPECT_EQ(document.text, "one\ntwo\nthree\n");
  EXPECT_EQ(document.Line(document.text.find("three")), 3);
}

TEST(DocumentLoaderTest, MarkdownBecomesReadableTextWithHeadingsAndPlaces) {
  const std::string source =
      "---\ntitle: \"Soup\"\n---\n# Lentil soup\n\nServes *four*, in **30** minutes [see](http://x).\nStill the same "
      "paragraph.\n\n"
      "## You need\n\n- 200 g lentils\n- 1 onion\n  1. chopped\n  2. fried\n\n| herb | grams |\n|---|---|\n| thyme | 2 "
      "|\n\n"
      "```c\nint x = 1;\n  y();\n```\n\nAT&amp;T caf&eacute; &#233;\n\n<div>raw html</div>\n\n## Then\n\nBoil.\n";
  const Document document = Load(DocumentFormat::kMarkdown, source);
  EXPECT_EQ(document.title, "Soup");
  EXPECT_EQ(document.text,
            "Lentil soup\n\nServes four, in 30 minutes see. Still the same paragraph.\n\nYou need\n\n- 200 g "
            "lentils\n- 1 onion\n1. chopped\n2. fried\n\n"
            "herb | grams\nthyme | 2\n\nint x = 1;\n  y();\n\nAT&T caf\xc3\xa9 \xc3\xa9\n\nThen\n\nBoil.\n\n");
  EXPECT_THAT(document.HeadingsAt(document.text.find("onion")), ElementsAre("Lentil soup", "You need"));
  EXPECT_THAT(document.HeadingsAt(document.text.find("Boil")), ElementsAre("Lentil soup", "Then"));
  EXPECT_EQ(document.Line(document.text.find("onion")), 12);
  EXPECT_EQ(source.substr(document.SourceOffset(document.text.find("thyme")), 5), "thyme");
}

TEST(DocumentLoaderTest, HtmlBecomesWhatAReaderSees) {
  const std::string source =
      "<!doctype html><html><head><title> Ferry\n times </title><style>p{color:red}</style><script>var hidden = "
      "'<p>no</p>';</script></head>\n"
      "<body><nav>Home</nav><h1>Ferry</h1><p>Leaves  at\n<b>seven</b> &amp; "
      "returns.</p><h2>Fares</h2><table><tr><th>who<th>price</tr><tr><td>adult<td>4</table>"
      "<ul><li>bring <i>cash</i><li><p>no dogs</p><p>or cats</p></ul><pre>  keep\n this</pre><p "
      "hidden>secret</p><template>x</template>"
      "<p>one<br>two<img src=x alt=\"a boat\"></p></body></html>";
  const Document document = Load(DocumentFormat::kHtml, source);
  EXPECT_EQ(document.title, "Ferry times");
  EXPECT_EQ(document.text,
            "Home\n\nFerry\n\nLeaves at seven & returns.\n\nFares\n\nwho | price\nadult | 4\n\n- bring cash\n- no "
            "dogs\nor cats\n\n  keep\n this\n\none\ntwoa boat\n\n");
  EXPECT_THAT(document.HeadingsAt(document.text.find("adult")), ElementsAre("Ferry", "Fares"));
  EXPECT_EQ(document.Line(document.text.find("adult")), 4);
  EXPECT_EQ(document.Line(document.text.find("seven")), 4);
  EXPECT_EQ(Load(DocumentFormat::kHtml, "<h1>Top</h1><p>x").title, "Top");
}

TEST(DocumentLoaderTest, HostileHtmlIsReadOrRefusedInTime) {
  const auto load = [](const std::string& bytes) {
    const std::clock_t start = std::clock();  // of the processor: other work on the machine does not count
    const auto document = LoadDocument(DocumentFormat::kHtml, bytes, "hostile.html");
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    EXPECT_LT(seconds, 5) << bytes.substr(0, 40);
    if (document.ok()) return std::string(StripWhitespace(document->text));
    EXPECT_EQ(document.status().code(), absl::StatusCode::kInvalidArgument) << document.status();
    EXPECT_THAT(std::string(document.status().message()), HasSubstr("hostile.html"));
    return std::string("refused");
  };
  EXPECT_EQ(load(Repeat("<div>", 100000) + "x"), "refused");
  EXPECT_EQ(load(Repeat("<b>", 100000) + "x"), "refused");
  EXPECT_EQ(load(Repeat("<table><tr><td>", 30000)), "refused");
  EXPECT_EQ(load(Repeat("<svg><g>", 30000)), "refused");
  EXPECT_EQ(load(Repeat("<p>x</b><b a>", 20000)).substr(0, 1), "x");
  EXPECT_EQ(load("<p a=\"" + std::string(5 << 20, 'y') + "\">seen"), "seen");
  std::string attributes = "<p";
  for (int i = 0; i < 200000; ++i) absl::StrAppend(&attributes, " a", i);
  EXPECT_THAT(load(attributes + ">seen"), testing::AnyOf("seen", "refused"));
  EXPECT_EQ(load("<p>never closed <b>bold <!-- comment"), "never closed bold");
  EXPECT_EQ(load("seen<script>never closed"), "seen");
  EXPECT_EQ(load("a <b <c> d"), "a d");
  EXPECT_EQ(load("&#0; &#xD800; &#x110000; &notanentity; &amp"),
            "\xef\xbf\xbd \xef\xbf\xbd \xef\xbf\xbd \xc2\xac"
            "anentity; &");
  EXPECT_EQ(load("<frameset><frame></frameset>"), "refused");
  EXPECT_EQ(load(Repeat("<p>x", 100000)).size(), 3u * 100000 - 2);
  for (int seed = 0; seed < 300; ++seed) {  // whatever comes
    std::string soup;
    unsigned state = static_cast<unsigned>(seed) * 2654435761u + 1;
    for (int i = 0; i < 200; ++i) {
      const char* pieces[] = {"<",        ">",  "</", "table", "tr",     "p",    "b",   " ",         "\"",
                              "'",        "=",  "&",  "#",     ";",      "<!--", "-->", "<![CDATA[", "svg",
                              "template", "h1", "x",  "title", "select", "/",    "\n"};
      state = state * 1664525u + 1013904223u;
      soup += pieces[(state >> 16) % 25];
    }
    load(soup);
  }
}

TEST(DocumentLoaderTest, HostileMarkdownIsReadOrRefusedInTime) {
  const auto load = [](const std::string& bytes) {
    const std::clock_t start = std::clock();  // of the processor: other work on the machine does not count
    const auto document = LoadDocument(DocumentFormat::kMarkdown, bytes, "hostile.md");
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    EXPECT_LT(seconds, 5) << bytes.substr(0, 40);
    if (document.ok()) return true;
    EXPECT_EQ(document.status().code(), absl::StatusCode::kInvalidArgument) << document.status();
    return false;
  };
  EXPECT_FALSE(load(std::string(100000, '>') + " x"));
  EXPECT_FALSE(load(Repeat("- ", 100000) + "x"));
  EXPECT_FALSE(load(Repeat("1. ", 20000) + "x"));
  EXPECT_TRUE(load(std::string(100000, '[') + "x"));
  EXPECT_TRUE(load(Repeat("[a](", 50000)));
  EXPECT_TRUE(load(Repeat("*a _b ", 50000)));
  EXPECT_TRUE(load(Repeat("![", 50000)));
  EXPECT_TRUE(load("x " + Repeat("`", 100000) + "x"));
  EXPECT_TRUE(load(Repeat("<a ", 50000)));
  EXPECT_TRUE(load(Repeat("&eacute;", 20000)));
  EXPECT_TRUE(load("| a " + Repeat("| b ", 20000) + "\n" + Repeat("|---", 20000) + "\n"));
  EXPECT_TRUE(load("```\nnever closed"));
  EXPECT_TRUE(load("# \n\nx"));
  EXPECT_TRUE(load("---\ntitle: never closed\n"));
}

TEST(DocumentLoaderTest, FilesThatAreNotTextFilesAreRefused) {
  TemporaryFolder folder;
  WriteFile(folder.path() / "a.txt", "text");
  EXPECT_EQ(*ReadDocumentFile(folder.path() / "a.txt"), "text");
  EXPECT_EQ(ReadDocumentFile(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadDocumentFile(folder.path() / "b.txt").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadDocumentFile("/dev/zero").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ReadDocumentFile(folder.path() / "a.txt", {.max_bytes = 3}).status().message()),
              HasSubstr("larger than the 3 bytes"));
  EXPECT_EQ(*FormatFromPath("x/README.MD"), DocumentFormat::kMarkdown);
  EXPECT_EQ(*FormatFromPath("x.html"), DocumentFormat::kHtml);
  EXPECT_EQ(FormatFromPath("x.mp3").status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace blazon::retrieval
