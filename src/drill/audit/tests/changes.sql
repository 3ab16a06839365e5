-- More of the small log: things that were changed and archived.
insert into event (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
select position, 1, ('00000000-0000-7000-8000-' || lpad(position::text, 12, '0'))::uuid, stream,
       ('00000000-0000-7000-9000-' || lpad(id, 12, '0'))::uuid, version, kind, 1,
       case when scope then '00000000-0000-7000-9000-000000000001'::uuid end, data::json,
       '{"actor":"00000000-0000-7000-9000-000000000001"}'::json,
       timestamptz '2026-11-20 12:00:00.000001+00' + position * interval '1 second', sha256('')
from (values
    (20, 'specialty', '2', 2, 'specialty_changed', false, '{"icon_url":"https://example.org/heart.svg"}'),
    (21, 'specialty', '2', 3, 'specialty_changed', false, '{"name":"Heart","icon_url":null}'),
    (22, 'sub_specialty', '3', 2, 'sub_specialty_changed', false,
     '{"specialty_id":"00000000-0000-7000-9000-000000000002","description":"beats"}'),
    (23, 'sub_specialty', '3', 3, 'sub_specialty_archived', false, '{}'),
    (24, 'specialty', '2', 4, 'specialty_archived', false, '{}'),
    (25, 'prompt', '4', 3, 'prompt_archived', true, '{}'),
    (26, 'item', '26', 1, 'item_created', true, '{"tenant_id":"00000000-0000-7000-9000-000000000001","name":"Tea","note":"green"}'),
    (27, 'item', '26', 2, 'item_changed', true, '{"tenant_id":"00000000-0000-7000-9000-000000000001","name":"Mate","note":null}'),
    (28, 'item', '28', 1, 'item_created', true, '{"tenant_id":"00000000-0000-7000-9000-000000000001","name":"Cup"}'),
    (29, 'item', '28', 2, 'item_archived', true, '{}')
) e (position, stream, id, version, kind, scope, data);

update read.specialty
set name = 'Heart', archived = true, updated_at = '2026-11-20 12:00:24.000001+00', version = 4, position = 24;
update read.sub_specialty
set description = 'beats', archived = true, updated_at = '2026-11-20 12:00:23.000001+00', version = 3, position = 23;
update read.prompt set archived = true, updated_at = '2026-11-20 12:00:25.000001+00', version = 3, position = 25;
insert into read.item (id, tenant_id, created_by, name, note, archived, created_at, updated_at, version, position) values
    ('00000000-0000-7000-9000-000000000026', '00000000-0000-7000-9000-000000000001', '00000000-0000-7000-9000-000000000001', 'Mate', null, false,
     '2026-11-20 12:00:26.000001+00', '2026-11-20 12:00:27.000001+00', 2, 27),
    ('00000000-0000-7000-9000-000000000028', '00000000-0000-7000-9000-000000000001', '00000000-0000-7000-9000-000000000001', 'Cup', null, true,
     '2026-11-20 12:00:28.000001+00', '2026-11-20 12:00:29.000001+00', 2, 29);
update read.checkpoint set position = 29, event_id = '00000000-0000-7000-8000-000000000029';
