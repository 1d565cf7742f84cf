#include "server/tools/document_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace chela {
namespace {

using ::testing::ElementsAre;

// The documents of `text`, pushed in pieces of `piece` bytes.
std::vector<std::string> Split(const std::string& text, size_t piece) {
  std::vector<std::string> documents = {""};
  DocumentSplitter splitter(
      [&](std::string_view part) { documents.back() += part; },
      [&] { documents.emplace_back(); });
  for (size_t at = 0; at < text.size(); at += piece) {
    splitter.Push(std::string_view(text).substr(at, piece));
  }
  splitter.Finish();
  return documents;
}

TEST(DocumentSplitterTest, SplitsTheSameHoweverTheTextIsCut) {
  const std::string text = "a\nb\n\f\nc\f\n\fd\n\f\n\f\ne";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    EXPECT_THAT(Split(text, piece),
                ElementsAre("a\nb\n", "c\f\n\fd\n", "", "e"))
        << piece;
  }
}

TEST(DocumentSplitterTest, TakesABoundaryAtEitherEnd) {
  EXPECT_THAT(Split("\f\na", 1), ElementsAre("", "a"));
  EXPECT_THAT(Split("a\n\f", 1), ElementsAre("a\n", ""));
  EXPECT_THAT(Split("a\n\f\n", 9), ElementsAre("a\n", ""));
}

TEST(DocumentSplitterTest, LeavesFormFeedsInsideLinesAlone) {
  EXPECT_THAT(Split("x\f\n\f\f\n\f y", 1), ElementsAre("x\f\n\f\f\n\f y"));
}

}  // namespace
}  // namespace chela
