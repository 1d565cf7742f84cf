#ifndef CHELA_TESTS_SERVER_METRICS_PAGE_H_
#define CHELA_TESTS_SERVER_METRICS_PAGE_H_

#include <cstdlib>
#include <limits>
#include <sstream>
#include <string>

namespace chela::test_support {

// The value of the series `series` ("name{labels in the page's order}") on a
// page of Prometheus' text format; NaN if there is none.
inline double ValueOf(const std::string& page, const std::string& series) {
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, series.size() + 1, series + " ") == 0) {
      return std::strtod(line.c_str() + series.size() + 1, nullptr);
    }
  }
  return std::numeric_limits<double>::quiet_NaN();
}

// How many lines begin so.
inline int LinesStartingWith(const std::string& page,
                             const std::string& start) {
  int count = 0;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, start.size(), start) == 0) ++count;
  }
  return count;
}

}  // namespace chela::test_support

#endif  // CHELA_TESTS_SERVER_METRICS_PAGE_H_
