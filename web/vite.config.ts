/// <reference types="vitest/config" />
import { defineConfig, type Plugin } from "vite";

// The page's own rule, in force even where the server sends no header: nothing from elsewhere, nothing inline.
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "media-src 'self' blob: mediastream:",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

// Only in the built page: the dev server injects its styles inline.
const contentSecurityPolicy: Plugin = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: () => [
    {
      tag: "meta",
      attrs: { "http-equiv": "Content-Security-Policy", content: POLICY },
      injectTo: "head-prepend",
    },
  ],
};

const API = ["/duocast.v1.CallService", "/duocast.v1.PrivacyService"];
const SERVER = process.env["DUOCAST_URL"] ?? "http://localhost:8080";

export default defineConfig({
  plugins: [contentSecurityPolicy],
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    port: 5173,
    proxy: Object.fromEntries(API.map((service) => [service, SERVER])),
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
