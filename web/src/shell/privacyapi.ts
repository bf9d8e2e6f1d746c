// PrivacyService, as the rest of the client speaks to it.

import { createClient, type Transport } from "@connectrpc/connect";
import type { CallRequest, Lists, Preview, PrivacySettings, SettingsChange, Standing } from "../core/privacy";
import { PrivacyService } from "../gen/duocast/v1/privacy_pb";
import { withRetry } from "./rpc";
import { toPerson } from "./wire";
import { fromChange, toBlocked, toDecision, toGrant, toPersonDecision, toPreview, toRequest, toSettings } from "./wireprivacy";

/** People shown in each list: the most that one answer holds. */
const PEOPLE_MAX = 500;

export class PrivacyApi {
  readonly #client;

  constructor(transport: Transport) {
    this.#client = createClient(PrivacyService, transport);
  }

  async settings(): Promise<{ settings: PrivacySettings; decided: boolean } | null> {
    const { settings, decided } = await withRetry((options) => this.#client.getSettings({}, options));
    return settings ? { settings: toSettings(settings), decided } : null;
  }

  async update(change: SettingsChange): Promise<PrivacySettings | null> {
    const answer = await withRetry((options) => this.#client.updateSettings({ change: fromChange(change) }, options));
    return answer.settings ? toSettings(answer.settings) : null;
  }

  async preview(change: SettingsChange): Promise<Preview> {
    return toPreview(await withRetry((options) => this.#client.previewSettings({ change: fromChange(change) }, options)));
  }

  async canCall(handle: string): Promise<Standing> {
    const { person, outgoing, incoming } = await withRetry((options) => this.#client.canCall({ handle }, options));
    return { person: toPerson(person), outgoing: toDecision(outgoing), incoming: toDecision(incoming) };
  }

  async lists(): Promise<Lists> {
    const [callers, { grants }, { blocks }] = await Promise.all([
      withRetry((options) => this.#client.listCallers({ pageSize: PEOPLE_MAX }, options)),
      withRetry((options) => this.#client.listGrants({ pageSize: PEOPLE_MAX }, options)),
      withRetry((options) => this.#client.listBlocks({ pageSize: PEOPLE_MAX }, options)),
    ]);
    return {
      callers: callers.people.map(toPersonDecision),
      everyone: callers.everyone,
      grants: grants.map(toGrant),
      blocks: blocks.map(toBlocked),
    };
  }

  async requests(): Promise<{ incoming: readonly CallRequest[]; outgoing: readonly CallRequest[] }> {
    const { incoming, outgoing } = await withRetry((options) => this.#client.listCallRequests({}, options));
    return { incoming: incoming.map(toRequest), outgoing: outgoing.map(toRequest) };
  }

  async sendRequest(handle: string): Promise<CallRequest | null> {
    const { request } = await withRetry((options) => this.#client.sendCallRequest({ handle }, options));
    return request ? toRequest(request) : null;
  }

  async answerRequest(handle: string, answer: { accept: boolean; grantDays?: number; block?: boolean }): Promise<void> {
    await withRetry((options) => this.#client.answerCallRequest({ handle, ...answer }, options));
  }

  async grant(handle: string, days: number): Promise<void> {
    await withRetry((options) => this.#client.createGrant({ handle, days }, options));
  }

  async revoke(handle: string): Promise<void> {
    await withRetry((options) => this.#client.revokeGrant({ handle }, options));
  }

  async block(handle: string): Promise<void> {
    await withRetry((options) => this.#client.block({ handle }, options));
  }

  async unblock(handle: string): Promise<void> {
    await withRetry((options) => this.#client.unblock({ handle }, options));
  }
}
