#include "landing/target.h"

#include <gtest/gtest.h>

namespace onebit::landing {
namespace {

TEST(Target, OfAUrl) {
  const auto plain = parse_target("http://127.0.0.1:8080");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->host, "127.0.0.1");
  EXPECT_EQ(plain->port, "8080");
  EXPECT_EQ(plain->path, "/metrics");
  const auto other = parse_target("http://[::1]/llm/");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->host, "::1");
  EXPECT_EQ(other->port, "80");
  EXPECT_EQ(other->path, "/llm/metrics");
  EXPECT_EQ(parse_target("http://[::1]:81")->port, "81");
  EXPECT_EQ(parse_target("http://[fe80::1%eth0]:81")->host, "fe80::1%eth0");
}

TEST(Target, WhatIsNone) {
  for (const char* url : {"",
                          "127.0.0.1:8080",
                          "https://host",
                          "http://",
                          "http://:80",
                          "http://a:0",
                          "http://a:65536",
                          "http://a:b",
                          "http://a:",
                          "http://a/ b",
                          "http://a/?q",
                          "http://u@a",
                          "http://[::1",
                          "http://a\r\nX: y",
                          "http://[::1]x:80",
                          "http://[::1]x",
                          "http://[::1]:",
                          "http://[]:80",
                          "http://[a]:80",
                          "http://[::1%]:80",
                          "http://a[::1]:80",
                          "http://::1:80",
                          "http://a]:80"})
    EXPECT_FALSE(parse_target(url)) << url;
}

}  // namespace
}  // namespace onebit::landing
